"""What `--help` looks like on a terminal of 80 columns."""

import pytest
import typer

from virnucpro.cli.main import app, main

GROUP = typer.main.get_command(app)
COMMANDS = [[], *([name] for name in GROUP.commands), *(["models", name] for name in GROUP.commands["models"].commands)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_the_terminal_and_is_whole(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]  # cut short


def test_the_examples_of_predict_stand_on_lines_of_their_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["predict", "--help"])
    assert "\n    virnucpro predict reads.fastq.gz contigs.fa -o out\n" in capsys.readouterr().out
