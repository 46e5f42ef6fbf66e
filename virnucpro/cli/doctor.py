"""virnucpro doctor."""

from __future__ import annotations

import platform

import typer

from virnucpro.cli.print_tables import print_line
from virnucpro.words import counted, in_bytes


def doctor() -> None:
    """Show versions, devices, attention backends, model checksums."""
    import torch
    from rich.console import Console
    from rich.table import Table

    from virnucpro import __version__
    from virnucpro._optional import LEDGER
    from virnucpro.environment import default_threads
    from virnucpro.errors import ModelError
    from virnucpro.models.packed_attention import explain_backends
    from virnucpro.pretrained.locations import SHIPPED, list_models
    from virnucpro.pretrained.registry import load_model

    console = Console(markup=False)
    console.print(f"virnucpro {__version__}, Python {platform.python_version()}, torch {torch.__version__}")
    console.print(f"CPU: {platform.machine()}, {counted(default_threads(), 'cores')} available")
    devices = [torch.device("cuda", i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    for device in devices:
        properties = torch.cuda.get_device_properties(device)
        console.print(f"{device}: {properties.name}, {in_bytes(properties.total_memory)}")
    if not devices:
        console.print("GPU: torch finds none that it can use")

    packages = Table(
        "optional package", "installed", "needed", "purpose", title="Optional packages", title_justify="left"
    )
    for package in LEDGER:
        found = package.version
        state = "no" if found is None else f"{found} (too old)" if package.is_older(found) else found
        packages.add_row(package.distribution, state, f">={package.minimum}", package.purpose)
    console.print(packages)

    backends = Table("device", "precision", "ALiBi", "backend", "state", title="Attention", title_justify="left")
    for device in (*devices, torch.device("cpu")):
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        for alibi in (False, True):
            used = False
            for name, reason in explain_backends(device, dtype, 64, alibi):
                state = reason or ("can be asked for" if used else "used")
                used = used or not reason
                backends.add_row(str(device), str(dtype).removeprefix("torch."), "yes" if alibi else "no", name, state)
    console.print(backends)

    damaged = False
    for name, directory in list_models().items():
        try:
            if name not in SHIPPED:  # it may have many gigabytes; `virnucpro models verify` reads them
                print_line(f"model {name}: {directory}")
                continue
            checksums = load_model(name).description.checksums
            print_line(f"model {name}: complete; " + ", ".join(f"{k} {v[:12]}" for k, v in checksums.items()))
        except ModelError as error:
            damaged = True
            print_line(f"model {name}: {error}")
    if damaged:
        raise typer.Exit(1)
