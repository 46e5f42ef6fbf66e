"""virnucpro selftest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from virnucpro.cli import options
from virnucpro.environment import prepare_for_torch
from virnucpro.printable import printable
from virnucpro.words import counted


def selftest(
    golden: Annotated[
        Path, typer.Option("--golden", help="Directory with outputs of the published tool.", show_default=False)
    ],
    model: Annotated[str, typer.Option("--model", help="Name or directory of a model.")] = "published-500",
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    attention: options.Attention = "auto",
    threads: options.Threads = None,
) -> None:
    """Compare a published model with the published tool's outputs.

    Prints a line for each comparison: frames, vectors, scores and consensus of each golden run. The exit code is 1 if
    one exceeds its limit: relative L2 error 1e-4 in fp32, 1e-2 in half precision, score difference 1e-3.

    Example: virnucpro selftest --model published-500 --golden golden --precision fp32
    """
    prepare_for_torch()
    from virnucpro.config import Options
    from virnucpro.errors import ModelError
    from virnucpro.pipeline.predict import Predictor
    from virnucpro.pretrained.registry import load_model
    from virnucpro.run.selftest import compare_with_golden

    run_options = Options(device=device, precision=precision, attention=attention, threads=threads)
    predictor = Predictor(load_model(model), run_options)
    print("run\tcompared\tmeasure\tfound\tlimit\tstate")
    n = failed = 0
    for row in compare_with_golden(predictor, golden):
        state = "ok" if row.passed else "FAILED"
        cells = (row.run, row.what, row.measure, f"{row.found:.3g}", f"{row.limit:g}", state)
        print("\t".join(map(printable, cells)))
        n += 1
        failed += not row.passed
    where = f"{predictor.precision} on {predictor.device}"
    if failed:
        raise ModelError(
            f"{failed} of {counted(n, 'comparisons')} failed in {where}; "
            f"`virnucpro models verify {model}` checks the weights, then try --precision fp32 and --attention sdpa"
        )
    options.report(f"{model} agrees with the published tool in {where}: {counted(n, 'comparisons')}")
