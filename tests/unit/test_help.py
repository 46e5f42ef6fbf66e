"""What `--help` looks like on a terminal of 80 columns, and the options that every command has."""

import json
import logging

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
    if command not in ([], ["models"]):
        section = lines[lines.index("Messages:") :]
        assert [line.split()[0] for line in section if line.startswith("  -")] == ["-q,", "-v,", "--json-log"]


def test_the_examples_of_predict_stand_on_lines_of_their_own(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["predict", "--help"])
    assert "\n    virnucpro predict reads.fastq.gz contigs.fa -o out\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "level"),
    [("-q", logging.ERROR), ("-v", logging.INFO), ("--verbose", logging.INFO), (None, logging.WARNING)],
)
def test_how_much_is_said_stands_before_or_after_the_command(call, option, level):
    given = [option] if option else []
    for arguments in ([*given, "models", "list"], ["models", "list", *given]):
        assert call(arguments)[0] == 0
        assert logging.getLogger().level == level


def test_json_lines_before_or_after_the_command(call, tmp_path):
    absent = str(tmp_path / "absent")
    before, after = (
        call(arguments) for arguments in (["--json-log", "report", absent], ["report", absent, "--json-log"])
    )
    assert before[0] == after[0] == 66
    first, second = (json.loads(err) for _, err in (before, after))
    assert {**first, "time": None} == {**second, "time": None}
    assert first["event"] == "error"


def test_the_options_of_both_places_add_up(call):
    for arguments in (["-v", "models", "list", "-q"], ["-q", "models", "list", "-v"]):
        assert call(arguments)[0] == 0
        assert logging.getLogger().level == logging.ERROR  # --quiet is stronger
