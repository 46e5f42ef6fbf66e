"""A run to standard output: rows of records.tsv as they come, without files, so it cannot be resumed."""

from __future__ import annotations

import sys
import time
from collections import Counter

from virnucpro.pipeline.isolation import call_isolated
from virnucpro.run.input_files import RECORDS, FileColumn, files_of, with_file
from virnucpro.run.progress import in_precision, shown_progress, summarise
from virnucpro.run.replacement import refuse_stdout
from virnucpro.run.request import Request
from virnucpro.run.rows import record_rows
from virnucpro.run.tables import TABLES
from virnucpro.run.tally import RepeatedIds, Tally
from virnucpro.run.task import load_predictor
from virnucpro.scores.composition import Composition, count_evidence
from virnucpro.seq.source import Source


def run_to_stdout(request: Request) -> None:
    """Call all records of the input and write records.tsv to standard output.

    Raises:
        VirnucproError: the message says what to do.
    """
    begin = time.perf_counter()
    refuse_stdout(request.inputs)
    predictor = load_predictor(request.model, request.options)
    tally, ids = Tally(), RepeatedIds()
    histogram: Counter[int] = Counter()
    out = sys.stdout.buffer
    files = request.files
    out.write((with_file(TABLES[RECORDS]) if files else TABLES[RECORDS]).encode())
    out.flush()  # a reader of the pipe sees each unit at once
    source = Source(request.inputs)
    with shown_progress(source) as counter:
        for unit in request.units(source, "cpu"):
            rows = FileColumn(out, files_of(unit.records, files)) if files else out
            for calls in call_isolated(predictor.call, unit.records, predictor.decision.n_hosts):
                rows.write(record_rows(calls, predictor.decision))
                tally += Tally.of(calls)
                count_evidence(histogram, calls.record.log_ratio)
            ids.add(unit.records.ids)
            out.flush()
            counter.advance(len(unit.records))
    where = "calls, and the share of virus, assume the default composition of hosts" * bool(predictor.decision.hosts)
    summarise(
        tally,
        ids.count(),
        time.perf_counter() - begin,
        Composition.of(histogram),
        *filter(None, [where]),
        unit=request.unit,
        computed=in_precision(predictor.precision, str(predictor.device)),
    )
