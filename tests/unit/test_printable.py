"""Names, ids and arguments that would act on a terminal reach no terminal, pipe or log as they are."""

import json
import logging
import os
import subprocess
import sys
import termios
import traceback
import unicodedata
from pathlib import Path

import pytest
from support.run_directories import write_run

from virnucpro.cli import logs
from virnucpro.cli.print_tables import print_line, print_tables
from virnucpro.errors import InputError
from virnucpro.printable import PrintableFormatter, printable
from virnucpro.run import progress

MARKS = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x61C, 0x200B, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF]
MARKS = [chr(code) for code in (*MARKS, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xE0041)]
SCREEN = "\x1b]0;title\x07\x1b[2J\u009b31m\x7f\u202e\u2066\u200f\u061c"  # may be in an id
NAME = f"n{SCREEN}\n\r\te"
SHOWN = r"n\x1b]0;title\x07\x1b[2J\x9b31m\x7f\u202e\u2066\u200f\u061c\n\r\te"


def raw(text: str) -> list[str]:
    """Return the characters that could act on a terminal, of lines that it shows."""
    lines = text.replace("\r\n", "\n").split("\n")
    return [
        char for line in lines for char in line if unicodedata.category(char) in ("Cc", "Cf", "Zl") and char != "\t"
    ]


@pytest.mark.parametrize("mark", MARKS, ids=[f"U+{ord(mark):04X}" for mark in MARKS])
def test_each_mark_is_an_escape(mark):
    shown = printable(f"a{mark}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown.encode().decode("unicode_escape") == f"a{mark}b"


def test_letters_of_all_scripts_stay():
    text = "Phage λ, Grüße, вирус, ウイルス, 🦠 \\x1b C:\\n"
    assert printable(text) == text


def test_bytes_that_are_not_utf8():
    text = b"a\xe9\x9b\xff".decode("utf-8", "surrogateescape")
    assert printable(text) == r"a\xe9\x9b\xff"
    assert printable(text, keep_bytes=True).encode("utf-8", "surrogateescape") == rb"a" + b"\xe9" + rb"\x9b" + b"\xff"
    assert printable("\ud800") == r"\ud800"  # of JSON, no byte


# ---- what is on stderr


def test_lines_for_people(capsys):
    logs.set_up(logging.INFO, json_lines=False)
    logging.getLogger("x").warning("%s of %s", NAME, "b")
    progress.say("1 record", f"files are in {NAME}")
    logs.report_error(InputError(NAME))
    assert capsys.readouterr().err.splitlines() == [
        f"WARNING: {SHOWN} of b",
        f"virnucpro: 1 record; files are in {SHOWN}",
        f"virnucpro: error: {SHOWN}",
    ]


def test_json_for_programs_has_the_text_itself_in_escapes(capsys):
    logs.set_up(logging.INFO, json_lines=True)
    progress.say("1 record", f"files are in {NAME}", directory=NAME)
    logs.report_error(InputError(NAME))
    text = capsys.readouterr().err
    assert raw(text) == []
    assert text.isascii()
    first, second = map(json.loads, text.splitlines())
    assert (first["message"], first["directory"]) == (f"1 record; files are in {NAME}", NAME)
    assert second["message"] == NAME


def test_a_traceback_keeps_its_lines():
    try:
        raise ValueError(NAME)
    except ValueError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "bad", None, (ValueError, error, error.__traceback__)
        )
        lines = len("".join(traceback.format_exception(error)).splitlines())
    text = PrintableFormatter("%(message)s").format(record)
    assert raw(text) == []
    assert text.startswith("bad\nTraceback (most recent call last):\n  File ")
    assert lines - 5 < len(text.splitlines()) <= lines + 1


# ---- what is on stdout


def test_tables_and_lines_for_people(capsys):
    print_tables([f"name\t{SCREEN}", f"a{SCREEN}\tb"])
    print_line(NAME)
    first, second, third = capsys.readouterr().out.splitlines()
    assert [len(line.split("\t")) for line in (first, second)] == [2, 2]
    assert raw(first + second + third) == []
    assert third == SHOWN


def run_into(stdout: int, *arguments: str, **environment: str) -> int:
    """Run the command line with all its output in one stream; return its exit code."""
    command = [sys.executable, "-m", "virnucpro", *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=stdout, check=False, env={**os.environ, **environment})
    return done.returncode


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Return what a command shows on a terminal."""
    master, slave = os.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST  # line ends as they come
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    try:
        run_into(slave, *arguments, **environment)
        termios.tcgetattr(slave)
        os.set_blocking(master, False)
        text = b""
        while True:
            try:
                text += os.read(master, 65536)
            except BlockingIOError:
                return text.decode(errors="surrogateescape")
    finally:
        os.close(master)
        os.close(slave)


@pytest.fixture
def models(lab, tmp_path, monkeypatch) -> Path:
    """A folder of models with one whose folder and name are odd."""
    directory = tmp_path / "models" / NAME
    lab.write_model(lab.make_model(), directory)
    path = directory / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": NAME, "licence": NAME}))
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(directory.parent))
    return directory


def test_models_on_a_terminal_and_in_a_pipe(models, capfd):
    shown = on_a_terminal("models", "list")
    assert raw(shown) == []
    assert shown.count(SHOWN) == 3  # the folder's name, the model's name, the directory
    code, text = both(capfd, ["models", "list"])
    assert (code, raw(text)) == (0, [])
    assert [SHOWN, SHOWN, "100", "20", f"{models.parent}/{SHOWN}"] in [line.split("\t") for line in text.splitlines()]
    code, text = both(capfd, ["models", "show", NAME])
    assert (code, raw(text)) == (0, [])
    assert json.loads(text)["name"] == NAME
    assert both(capfd, ["models", "verify", NAME])[0] == 0
    (models / "classifier.safetensors").write_bytes(b"x")
    code, text = both(capfd, ["models", "verify", NAME])
    assert (code, raw(text)) == (1, [])
    assert f"{SHOWN}/classifier.safetensors is damaged" in text
    code, text = both(capfd, ["doctor"])
    assert raw(text) == []
    assert f"model {SHOWN}: {models.parent}/{SHOWN}\n" in text


def both(capfd, arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and all that it prints."""
    from virnucpro.cli.main import main

    capfd.readouterr()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as end:
            main(arguments)
    finally:
        root.handlers[:], root.level = handlers, level
    printed = capfd.readouterr()
    assert "Traceback" not in printed.err
    return end.value.code or 0, printed.out + printed.err


def test_explain_on_a_terminal_and_in_a_pipe(tmp_path, capfd):
    name = "é" + b"\xe9".decode("utf-8", "surrogateescape") + SCREEN
    directory = write_run(tmp_path / NAME, [(name, 1000, 0.9)])
    assert name in (directory / "records.tsv").read_text(errors="surrogateescape")  # data stays as it is
    escaped = SHOWN.removeprefix("n").removesuffix(r"\n\r\te")
    shown = on_a_terminal("explain", str(directory), name, PYTHONIOENCODING="utf-8")
    assert raw(shown) == []
    assert shown.startswith(rf"é\xe9{escaped}: record 1 of the run")
    with (tmp_path / "file").open("wb") as file:
        assert run_into(file.fileno(), "explain", str(directory), name, PYTHONIOENCODING="utf-8") == 0
    text = (tmp_path / "file").read_bytes()
    assert text.startswith("é".encode() + b"\xe9" + escaped.encode() + b": record 1 of the run")
    assert raw(text.decode(errors="surrogateescape")) == []
    with (tmp_path / "file").open("wb") as file:
        assert run_into(file.fileno(), "explain", str(directory), name, PYTHONIOENCODING="ascii") == 0
    assert (tmp_path / "file").read_bytes().startswith(rb"\xe9" + b"\xe9" + escaped.encode() + b": record")
    code, text = both(capfd, ["explain", str(directory), SCREEN])
    assert (code, raw(text)) == (65, [])


def test_a_run_on_a_terminal(lab, tmp_path):
    path, output = tmp_path / f"{NAME}.fa", tmp_path / NAME
    path.write_bytes(f">{SCREEN} {SCREEN}\n{'ACGATTGCACCA' * 10}\n".encode())
    arguments = ["predict", str(path), "--model", str(lab.model), "-o"]
    shown = on_a_terminal(*arguments, str(output), NO_COLOR="1", TERM="dumb")
    assert raw(shown) == []
    assert f"tables and report.html are in {tmp_path}/{SHOWN}\n" in shown
    assert (output / "records.tsv").read_bytes().splitlines()[1].startswith(SCREEN.encode() + b"\t120\t")
    command = [sys.executable, "-m", "virnucpro", *arguments, "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == (output / "records.tsv").read_bytes()  # data


MESSAGES = {
    "check of what is not there": (["check", NAME], 66),
    "check of another format": (["check", "{text}"], 65),
    "check of a wrong record": (["check", "{wrong}"], 65),
    "check of an odd record": (["check", "{odd}"], 0),
    "predict of what is not there": (["predict", NAME, "-o", "{new}"], 66),
    "predict of a wrong record": (["predict", "{wrong}", "-o", "{new}"], 65),
    "predict in a file": (["predict", "{odd}", "-o", "{text}"], 1),
    "predict without such a model": (["predict", "{odd}", "-o", "{new}", "--model", NAME], 1),
    "predict on another device": (["predict", "{odd}", "-o", "{new}", "--device", NAME], 2),
    "predict of a part": (["predict", "{odd}", "-o", "{new}", "--shard", NAME], 2),
    "predict with a log for programs": (["--json-log", "predict", NAME, "-o", "{new}"], 66),
    "scan": (["scan", NAME, "-o", "{new}"], 66),
    "embed": (["embed", "{odd}", "-o", "{new}", "--model", NAME], 1),
    "frames": (["frames", NAME, "-o", "{new}"], 66),
    "report": (["report", NAME], 66),
    "explain": (["explain", NAME, NAME], 66),
    "merge": (["merge", NAME, NAME, "-o", "{new}"], None),
    "compare": (["compare", NAME, NAME], 66),
    "compare of another format": (["compare", "{text}", "{text}"], 65),
    "evaluate": (["evaluate", NAME, "--truth", NAME], 66),
    "evaluate of another format": (["evaluate", "{text}", "--truth", "{text}"], 65),
    "evaluate with lengths": (["evaluate", "{text}", "--truth", "{text}", "--length-bins", NAME], 2),
    "train": (["train", NAME, "-o", "{new}"], None),
    "models show": (["models", "show", NAME], 1),
    "models download": (["models", "download", NAME], 1),
    "models download from a folder": (["models", "download", "esm2-8M", "--mirror", NAME, "-o", "{new}"], 1),
    "models import": (["models", "import", "--classifier", NAME, "--chunk-length", "300", "-o", "{new}"], 1),
    "no such option": (["predict", f"--{NAME}"], 2),
    "no such short option": (["predict", f"-{SCREEN}"], 2),
    "no such command": ([NAME], 2),
    "no such command of models": (["models", NAME], 2),
    "no number": (["predict", "{odd}", "-o", "{new}", "--threads", NAME], 2),
    "no choice": (["scan", "{odd}", "-o", "{new}", "--plots", NAME], 2),
    "one argument too many": (["models", "list", NAME], 2),
    "a flag with a value": (["predict", "{odd}", "-o", "{new}", f"--resume={NAME}"], 2),
}


@pytest.mark.parametrize(("arguments", "expected"), MESSAGES.values(), ids=MESSAGES)
def test_messages_are_printable(tmp_path, capfd, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / f"{NAME}.{name}" for name in ("text", "wrong", "odd", "new")}
    files["text"].write_text(f"{NAME}\nmore {NAME}\n")
    files["wrong"].write_text(f">{SCREEN}\nACGT{SCREEN}\n")
    files["odd"].write_text(f">{SCREEN}\nACGT\n>{SCREEN}\nACGT\n")
    code, text = both(capfd, [argument.format(**files) for argument in arguments])
    assert code == expected or (expected is None and code != 0)
    assert raw(text) == []
    assert text.count("\n") < 8  # no name makes lines of its own
