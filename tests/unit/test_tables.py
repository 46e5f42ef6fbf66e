"""Tables on standard output."""

import sys

from virnucpro.cli.print_tables import print_tables

LINES = ["name\tn", "bundled\t5", "", "a\tlong one", "bb\tc"]


def test_programs_get_tabs(capsys):
    print_tables(LINES)
    assert capsys.readouterr().out.splitlines() == LINES


def test_people_get_columns(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_tables(LINES)
    assert capsys.readouterr().out.splitlines() == ["name     n", "bundled  5", "", "a   long one", "bb  c"]
