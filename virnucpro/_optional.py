"""The optional packages: installed version, oldest version that works, and the extra that installs each.

Versions come from package metadata, so nothing is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True, slots=True)
class OptionalPackage:
    """An optional dependency: its distribution name, import name, oldest version, extra and purpose."""

    distribution: str
    module: str
    minimum: str
    extra: str
    purpose: str

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return None

    @property
    def install_command(self) -> str:
        return f"pip install 'virnucpro[{self.extra}]'  (installs {self.distribution}>={self.minimum})"

    def is_older(self, version: str) -> bool:
        """Return whether `version` is older than the oldest version known to work; False if it cannot be parsed."""
        try:
            return Version(version) < Version(self.minimum)
        except (InvalidVersion, TypeError):
            return False


FLASH_ATTN = OptionalPackage("flash-attn", "flash_attn", "2.6.0", "flash", "varlen attention on GPUs, with ALiBi")
TRITON = OptionalPackage("triton", "triton", "3.2", "triton", "fused inference kernels; comes with torch for CUDA")
MATPLOTLIB = OptionalPackage("matplotlib", "matplotlib", "3.8", "report", "figures of `virnucpro scan` and `evaluate`")
PYARROW = OptionalPackage("pyarrow", "pyarrow", "15.0", "parquet", "Parquet tables of `virnucpro predict --parquet`")
PANDAS = OptionalPackage("pandas", "pandas", "2.0", "pandas", "`to_pandas()` of calls from Python")
POLARS = OptionalPackage("polars", "polars", "1.0", "polars", "`to_polars()` of calls from Python")
RAY = OptionalPackage("ray", "ray", "2.30", "ray", "`--engine ray`: many devices and machines")

LEDGER = (FLASH_ATTN, TRITON, MATPLOTLIB, PYARROW, PANDAS, POLARS, RAY)
