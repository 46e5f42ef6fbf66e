"""Parquet tables against the text they are made of."""

import sys

import pytest
from support.run_directories import random_records, write_run

from virnucpro.errors import VirnucproError
from virnucpro.report.parquet import require_pyarrow, write_parquet


@pytest.mark.parametrize("fdr", [None, 0.25])
def test_rows_and_columns_are_those_of_the_tables(tmp_path, fdr):
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [("NA", 300, 0.9), ('"quo"te\\', 40, None), ("na\udcefve é", 600, 0.3), *random_records(500)]
    directory = write_run(tmp_path / "run", records, fdr)
    write_parquet(directory)
    for name in ("records", "chunks", "frames"):
        text = (directory / f"{name}.tsv").read_text(encoding="utf-8", errors="surrogateescape")
        head, *rows = (line.split("\t") for line in text.splitlines())
        table = parquet.read_table(directory / f"{name}.parquet")
        assert table.column_names == head
        assert table.num_rows == len(rows)
        for number, column in enumerate(head):
            found = table.column(column).to_pylist()
            for row, value in zip(rows, found, strict=True):
                if value is None:
                    assert row[number] == "NA"
                    assert column not in ("seq_name", "status")
                else:
                    assert type(value)(row[number].replace("\udcef", "\\xef")) == value
    table = parquet.read_table(directory / "records.parquet")
    assert table.schema.field("length").type == "int64"
    assert table.schema.field("virus_score").type == "double"
    assert table.column("seq_name").to_pylist()[:3] == ["NA", '"quo"te\\', "na\\xefve é"]


def test_a_run_without_records(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_parquet(write_run(tmp_path / "run", []))
    assert parquet.read_table(tmp_path / "run" / "frames.parquet").num_rows == 0


def test_without_pyarrow_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    with pytest.raises(VirnucproError, match=r"pip install 'virnucpro\[parquet\]'"):
        require_pyarrow()
