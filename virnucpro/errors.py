"""The exceptions a user can meet, and the exit code each becomes in the command line.

    VirnucproError                  1   the run failed
    ├── ConfigError (ValueError)    2   an option or a configuration value makes no sense
    ├── InputError                 65   the input cannot be read as sequences
    │   └── MissingInputError      66   the input is not there
    ├── OutputError                 1   the output cannot be written
    ├── ModelError                  1   a model is missing, damaged or does not fit
    ├── PackedFormatError           1   cu_seqlens does not describe a packed batch (AssertionError and ValueError)
    ├── NumericalError              1   a model produced values that are not finite
    └── StoppedError         75, 130   a signal stopped the run, which can be resumed

Every message says what was wrong, what was found and what to do about it.
"""

from __future__ import annotations


class VirnucproError(Exception):
    """Base of every error that virnucpro raises on purpose."""

    exit_code = 1


class ConfigError(VirnucproError, ValueError):
    """An option or configuration value is out of range or contradicts another.

    `fields` are the names in the message that are fields of a request or of options; the command line shows them as
    its flags.
    """

    exit_code = 2

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message, *fields)  # all of them, so that a copy sent to another process has them, too
        self.fields = fields

    def __str__(self) -> str:
        return str(self.args[0])


class InputError(VirnucproError):
    """The input cannot be read as FASTA or FASTQ."""

    exit_code = 65


class MissingInputError(InputError):
    """An input file does not exist."""

    exit_code = 66


class OutputError(VirnucproError):
    """An output file or directory cannot be written."""


class ModelError(VirnucproError):
    """A model directory is missing, incomplete, damaged or of another shape than it says."""


class PackedFormatError(VirnucproError, AssertionError, ValueError):
    """`cu_seqlens` (or `max_seqlen`) does not describe the packed tensors.

    Both AssertionError and ValueError, and raised explicitly, so that callers can catch either and
    ``python -O`` changes nothing.
    """


class NumericalError(VirnucproError):
    """A model produced NaN or infinite values."""


class StoppedError(VirnucproError):
    """SIGTERM (exit code 75) or Ctrl-C (130) stopped a run that can be resumed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
