"""The exceptions that users can see, and their exit codes on the command line.

    VirnucproError                  1   the run failed
    ├── ConfigError (ValueError)    2   an option or a configuration value is not valid
    ├── InputError                 65   the input cannot be read as sequences
    │   └── MissingInputError      66   the input does not exist
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

    `fields` are the option fields that the message names; the command line shows them as flags.
    """

    exit_code = 2

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message, *fields)  # all arguments, so that unpickling in another process restores the fields
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
    """A model directory is missing, incomplete, damaged, or does not match its description."""


class PackedFormatError(VirnucproError, AssertionError, ValueError):
    """`cu_seqlens` (or `max_seqlen`) does not describe the packed tensors.

    It is both an AssertionError and a ValueError, so that callers can catch either. It is raised explicitly, so it also
    works under ``python -O``.
    """


class NumericalError(VirnucproError):
    """A model produced NaN or infinite values."""


class StoppedError(VirnucproError):
    """SIGTERM (exit code 75) or Ctrl-C (130) stopped a run that can be resumed."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
