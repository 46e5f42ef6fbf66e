"""Write the pin file of each wrapper beside its environment.yaml: the exact packages, as Snakemake installs them.

Needs py-rattler (integrations/tools.txt) and the channels. Usage: pin.py [--channel URL ...] [FOLDER]. Channels are
those of environment.yaml unless given; FOLDER is where wrappers are looked for, default: the folder of this file.
"""

import argparse
import asyncio
from pathlib import Path

import yaml
from rattler import BuildString, GenericVirtualPackage, PackageName, PackageRecord, Version, solve

PLATFORM = "linux-64"
# What a job may count on: Linux with the C library that PyTorch's packages need.
SYSTEM = [("__unix", "0"), ("__linux", "4.18"), ("__glibc", "2.28"), ("__archspec", "1")]


async def pinned(environment: Path, channels: list[str]) -> str:
    """Solve an environment and return the text of its pin file, packages after those that they need."""
    wanted = yaml.safe_load(environment.read_text())
    packages = await solve(
        channels or [name for name in wanted["channels"] if name != "nodefaults"],
        wanted["dependencies"],
        platforms=[PLATFORM, "noarch"],
        virtual_packages=[
            GenericVirtualPackage(PackageName(name), Version(version), BuildString("0")) for name, version in SYSTEM
        ],
    )
    lines = {package.name.normalized: f"{package.url}#{package.md5.hex()}" for package in packages}
    order = [package.name.normalized for package in PackageRecord.sort_topologically(packages)]
    return "\n".join([f"# platform: {PLATFORM}", "@EXPLICIT", *(lines[name] for name in order)]) + "\n"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    environments = sorted(options.folder.rglob("environment.yaml"))
    if not environments:
        parser.error(f"no environment.yaml in {options.folder}")
    for environment in environments:
        text = await pinned(environment, options.channel)
        pin = environment.with_name(f"environment.{PLATFORM}.pin.txt")
        pin.write_text(text)
        print(pin)


if __name__ == "__main__":
    asyncio.run(main())
