"""What is known of how far a run has come, and messages for people and for programs."""

import gzip
import io
import json
import logging
import sys
import time
from collections import Counter

import pytest

from virnucpro.cli import logs
from virnucpro.errors import InputError
from virnucpro.run import progress
from virnucpro.run.progress import (
    NOTICE,
    in_words,
    say,
    summarise,
)
from virnucpro.run.tally import Tally
from virnucpro.scores.composition import Composition
from virnucpro.seq.source import Source


def test_the_total_is_estimated_while_reading_and_counted_at_the_end(tmp_path):
    text = "".join(f">{i:05d}\n{'ACGT' * 40}\n" for i in range(20_000)).encode()
    (tmp_path / "a.fa").write_bytes(text)
    (tmp_path / "b.fa.gz").write_bytes(gzip.compress(text))
    source = Source([str(tmp_path / "a.fa"), str(tmp_path / "b.fa.gz")])
    assert source.total() is None
    for record in source:
        if record.index == 10_000:
            # Half of the first file is read, which is nearly all the bytes there are.
            share = (tmp_path / "a.fa").stat().st_size / source.bytes
            assert source.total() == pytest.approx(20_000 / share, rel=0.05)
    assert source.total() == source.records == 40_000


def test_of_a_stream_the_total_is_known_at_the_end_only(monkeypatch, tmp_path):
    (tmp_path / "a.fa").write_text(">a\nACGT\n" * 200)
    with (tmp_path / "a.fa").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        source = Source(["-", str(tmp_path / "a.fa")])
        assert source.bytes is None


def test_progress_off_a_terminal_is_plain_lines(monkeypatch, capsys):
    logs.set_up(logging.WARNING, json_lines=False)
    monkeypatch.setattr(progress, "PLAIN_LINE_SECONDS", 0.0)
    source = Source([])
    source.records, source.at_end = 3000, True
    with progress.shown_progress(source) as counter:
        counter.advance(1000, new=False)
        counter.advance(1000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "virnucpro: 1,000 records done, reading"  # those of an earlier run tell nothing about the pace
    assert second.startswith("virnucpro: 2,000 records done, ")
    assert second.endswith(" left")


def test_a_slow_pace_is_not_shown_as_zero():
    counter = progress.Counter(unit="steps")
    counter.began -= 10
    counter.advance(3)
    assert counter.words().startswith("0.3 steps/s")
    counter.advance(997)
    assert counter.words() in ("100 steps/s", "99 steps/s")


def test_json_lines(monkeypatch, capsys):
    logs.set_up(logging.WARNING, json_lines=True)
    tally = Tally(viral=2, bases=9)
    tally.status.update({"ok": 5, "too_short": 1})
    summarise(tally, 1, 3.25, None, "there")
    logs.report_error(InputError("a\nb"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "message"),
        ("info", "summary"),
        ("error", "error"),
    ]
    assert lines[1]["message"] == "6 records: 2 virus, 3 other, not called: 1 too_short; 3.2 s; there"
    assert (lines[1]["virus"], lines[1]["not_called"], lines[1]["seconds"]) == (2, {"too_short": 1}, 3.25)
    assert (lines[2]["message"], lines[2]["exit_code"], lines[2]["kind"]) == ("a\nb", 65, "InputError")
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_one_record_is_not_one_records(capsys):
    logs.set_up(logging.WARNING, json_lines=False)
    tally = Tally(viral=1)
    tally.status.update({"ok": 1})
    summarise(tally, 1, 0.5, None)
    summarise(tally + tally, 2, 0.5, None, unit="pairs")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "WARNING: 1 record repeats an id; each has its own row, in input order"
    assert lines[1].startswith("virnucpro: 1 record: 1 virus, 0 other")
    assert lines[2] == "WARNING: 2 pairs repeat an id; each has its own row, in input order"
    assert lines[3].startswith("virnucpro: 2 pairs: 2 virus, 0 other")


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (None, "estimated share of virus 4.00%;"),
        ((0.01, 0.125), "estimated share of virus 4.00% (1.0%-12.5%);"),
        ((0.0, 0.125), "estimated share of virus 4.00% (0-12.5%: cannot be distinguished from zero);"),
    ],
    ids=str,
)
def test_the_share_of_virus_has_an_interval(capsys, interval, words):
    logs.set_up(logging.WARNING, json_lines=False)
    tally = Tally(viral=1)
    tally.status.update({"ok": 1})
    summarise(tally, 0, 0.5, Composition(0.04, {}, {}, interval))
    assert words in capsys.readouterr().err


def test_lines_for_people_and_quiet(capsys):
    logs.set_up(logging.WARNING, json_lines=False)
    say("done")
    logging.getLogger("virnucpro.x").warning("odd")
    logs.report_error(InputError("bad"))
    assert capsys.readouterr().err == "virnucpro: done\nWARNING: odd\nvirnucpro: error: bad\n"
    logs.set_up(logging.ERROR, json_lines=False)
    say("done")
    assert capsys.readouterr().err == ""
    assert logs.NOTICE == NOTICE


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_record_may_count_as_its_windows(tmp_path):
    (tmp_path / "a.fa").write_text(">a\nACGTACGT\n>b\nACGT\n")
    source = Source([str(tmp_path / "a.fa")], lambda record: len(record.sequence))
    first, last = [source.total() for _ in source]
    assert first >= 8  # estimated from how far reading has come
    assert last == source.total() == 12
    with progress.shown_progress(source, "windows") as counter:
        counter.advance(4)
    assert " windows/s, about " in counter.words()


def test_on_a_terminal_a_bar_has_rate_and_time_left(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    logs.set_up(logging.WARNING, json_lines=False)
    source = Source([])
    source.records, source.at_end = 3000, True
    with progress.shown_progress(source) as counter:
        counter.advance(1000)
    drawn = terminal.getvalue()
    assert "1,000 records" in drawn
    assert "records/s" in drawn
    assert " left" in drawn


def test_on_a_terminal_the_summary_has_a_line_for_each_thing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.set_up(logging.WARNING, json_lines=False)
    tally = Tally(status=Counter({"ok": 5000, "too_short": 1}), viral=2)
    summarise(tally, 0, 3.25, None, "files are in a; b", unit="pairs")
    assert terminal.getvalue() == (
        "virnucpro: 5,001 pairs: 2 virus, 4,998 other, not called: 1 too_short\n  3.2 s\n  files are in a; b\n"
    )


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (12.4, "12 s"), (60, "1 min 0 s"), (3600, "1 h 0 min")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_the_rate_of_a_worker_counts_from_when_it_was_ready():
    counter = progress.Counter()
    counter.advance(300, "worker 1", time.monotonic() - 10)
    counter.advance(300, "worker 1", time.monotonic() - 10)
    counter.advance(50, "worker 2", time.monotonic() - 10)
    rates = counter.rates()
    assert rates["worker 1"] == pytest.approx(60, rel=0.5)
    assert rates["worker 1"] > 5 * rates["worker 2"] > 0
