"""The command line: one thin file per command; only this module turns errors into exit codes."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from virnucpro import __version__
from virnucpro.cli import (
    calibrate,
    check,
    compare,
    doctor,
    embed,
    evaluate,
    explain,
    frames,
    kmers,
    logs,
    merge,
    messages,
    models,
    predict,
    report,
    sample,
    scan,
    selftest,
    summary,
    train,
)
from virnucpro.cli.memory import as_memory_error, require_address_space
from virnucpro.cli.signals import stoppable
from virnucpro.errors import ConfigError, OutputError, VirnucproError
from virnucpro.printable import printable

EXIT_CODES = """
Exit codes: 0 success, 1 the run failed, 2 wrong usage, 65 bad input, 66 missing input, 75 stopped by SIGTERM, 130 by
Ctrl-C; `predict --resume` continues a stopped run.
"""

HELP = """
Find viral sequences among short DNA: reads, contigs, genomes.

\b
  virnucpro predict reads.fastq.gz -o out    then open out/report.html
  virnucpro COMMAND --help                   all options of a command
"""

# What typer raises for wrong options and arguments. Some versions of it contain their own copy of click.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="virnucpro",
    help=HELP,
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode=None,  # its boxes leave only a quarter of a narrow terminal for text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("predict", epilog=EXIT_CODES)(predict.predict)
app.command("report")(report.report)
app.command("summary")(summary.summary)
app.command("explain")(explain.explain)
app.command("compare")(compare.compare)
app.command("scan")(scan.scan)
app.command("check", epilog=EXIT_CODES)(check.check)
app.command("merge")(merge.merge)
app.command("embed")(embed.embed)
app.command("frames")(frames.frames)
app.command("train")(train.train)
app.command("kmers")(kmers.kmers)
app.command("calibrate")(calibrate.calibrate)
app.command("sample")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(models.app, name="models")
app.command("selftest")(selftest.selftest)
app.command("doctor")(doctor.doctor)
for _command in (*app.registered_commands, *models.app.registered_commands):
    _command.cls = messages.Command

_WITH_TORCH = {"predict", "scan", "embed", "train", "kmers", "calibrate", "selftest", "doctor"}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    quiet: messages.Quiet = False,
    verbose: messages.Verbose = False,
    json_log: messages.JsonLog = False,
) -> None:
    messages.set_up(quiet, verbose, json_log)
    require_address_space("torch" if context.invoked_subcommand in _WITH_TORCH else "numpy")


def _fill_closed_streams() -> None:
    """Open /dev/null for closed standard streams, so that no file of the run gets their numbers.

    Reading standard input or writing standard output then fails; messages on stderr are lost.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or io.StringIO()


def _run(argv: Sequence[str] | None) -> int:
    """Run a command; return its exit code: 2 for wrong usage, 1 for an aborted prompt."""
    try:
        return int(app(args=None if argv is None else list(argv), standalone_mode=False) or 0)
    except typer.Abort:
        print("Aborted!", file=sys.stderr)
        return 1
    except _USAGE_ERROR as error:
        message = error.format_message()
        if error.ctx is None or message != error.ctx.get_help():  # typer raises a help page as an error, too
            error.format_message = lambda: printable(message)
        error.show()
        return int(error.exit_code)


_FLAGS = {"evidence_offset": "neutral"}  # fields whose flag has another name


def with_flags(error: VirnucproError) -> str:
    """Return an error's message with option fields replaced by command-line flags.

    >>> with_flags(ConfigError("min_score must lie in 0..1, got 2", "min_score"))
    '--min-score must lie in 0..1, got 2'
    """
    fields = "|".join(map(re.escape, error.fields)) if isinstance(error, ConfigError) else ""
    if not fields:
        return str(error)

    def flag(match: re.Match[str]) -> str:
        return f"--{_FLAGS.get(match[0], match[0]).replace('_', '-')}"

    return re.sub(rf"(?<![\w/.-])({fields})(?![\w/-])", flag, str(error))  # not within a path or another flag


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; typer itself turns Ctrl-C into 130."""
    _fill_closed_streams()
    try:
        try:
            with stoppable("run it again"):
                code = _run(argv)
        finally:
            sys.stdout.flush()  # a failure at exit could not be reported
        sys.exit(code)
    except VirnucproError as error:
        logs.report_error(error, with_flags(error))
        sys.exit(error.exit_code)
    except (MemoryError, ImportError, RuntimeError) as error:
        if (lacking := as_memory_error(error)) is None:
            raise
        logs.report_error(lacking)
        sys.exit(lacking.exit_code)
    except OSError as error:  # commands report their own files, so this is standard output
        sys.stdout = io.StringIO()
        if lacking := as_memory_error(error):
            logs.report_error(lacking)
        elif error.errno != errno.EPIPE:  # EPIPE: the reader, such as `head`, closed the pipe
            logs.report_error(OutputError(f"{error.filename or 'standard output'} cannot be used: {error.strerror}"))
        sys.exit(OutputError.exit_code)
    finally:
        try:
            sys.stderr.flush()
        except OSError:
            sys.stderr = io.StringIO()  # otherwise Python would exit with 120


if __name__ == "__main__":
    main()
