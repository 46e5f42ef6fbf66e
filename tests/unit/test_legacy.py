"""The published tool's result files: float text, ties, order, shared ids, resuming."""

import io

import numpy as np
import pytest
import torch
from support.commands import run
from support.models import seeded
from support.published_files import INPUT_DIM, MLPClassifier, pickle_classifier, write_dnabert, write_esm2

from virnucpro.pretrained.import_published import import_model
from virnucpro.run.legacy import result_lines, write_highest_scores
from virnucpro.seq.strings import Strings

HEADER = "Sequence_ID\tPrediction\tscore1\tscore2\n"


def test_scores_are_printed_as_float32_and_equal_ones_are_others():
    third = float(np.float32(1) / np.float32(3))
    names = Strings.of([b"a_chunk_1F1", b"a_chunk_1R2", b"b_chunk_2F3"])
    assert result_lines(names, np.array([[third, 2 * third], [0.5, 0.5], [1.0, 1.5e-9]])) == (
        b"a_chunk_1F1\tvirus\t0.33333334\t0.6666667\na_chunk_1R2\tothers\t0.5\t0.5\nb_chunk_2F3\tothers\t1.0\t1.5e-09\n"
    )


def consensus(tmp_path, rows: str) -> str:
    (tmp_path / "results.txt").write_bytes((HEADER + rows).encode(errors="surrogateescape"))
    out = io.StringIO()
    write_highest_scores(tmp_path / "results.txt", out)
    return out.getvalue()


def test_the_consensus_compares_the_best_of_each_class_and_sorts_by_id(tmp_path):
    rows = (
        "z_chunk_1F1\tothers\t0.8\t0.2\nz_chunk_1R1\tvirus\t0.3\t0.7\n"  # 0.8 beats 0.7
        "a_chunk_10F1\tothers\t0.6\t0.4\na_chunk_10F2\tvirus\t0.4\t0.6\n"  # a tie is virus
        "a_chunk_2F1\tvirus\t0.1\t0.9\n"
        "é_chunk_1F1\tothers\t1.0\t1e-09\n"
        "z_chunk_1F2\tvirus\t0.1\t0.9\n"  # a later record of the same name
    )
    assert consensus(tmp_path, rows) == (
        "Modified_ID\tIs_Virus\na_chunk_10\tTrue\na_chunk_2\tTrue\nz_chunk_1\tTrue\né_chunk_1\tFalse\n"
    )
    assert consensus(tmp_path, "") == "Modified_ID\tIs_Virus\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model in the published way."""
    path = tmp_path_factory.mktemp("model")
    with seeded(5):
        classifier = MLPClassifier(INPUT_DIM, 16)
        classifier(torch.randn(64, INPUT_DIM))
    pickle_classifier(path / "500_model.pth", classifier)
    dnabert, esm2 = write_dnabert(path / "dnabert"), write_esm2(path / "esm2")
    import_model(path / "500_model.pth", 500, path / "model", dnabert, esm2)
    return path / "model"


RECORDS = "".join(f">r{i}\n{'ATGGCC' * (5 + 13 * i)}\n" for i in range(20)) + ">none\nTAATTAATTAACTAGTTAG\n>short\nAC\n"


def test_resuming_gives_the_same_files(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "reads.fa").write_text(RECORDS)
    arguments = ["-q", "predict", tmp_path / "reads.fa", "--model", model, "--unit-records", 4, "--device", "cpu"]
    arguments += ["--sample", "s"]  # otherwise the reports have the names of the directories
    assert run(*arguments, "--legacy-output", "-o", tmp_path / "whole") == 0
    results = (tmp_path / "whole" / "prediction_results.txt").read_text()
    frames = [line.split("\t") for line in (tmp_path / "whole" / "frames.tsv").read_text().splitlines()[1:]]
    assert [line.split("\t")[0] for line in results.splitlines()[1:]] == [row[0] for row in frames]
    assert results.startswith(HEADER)
    assert "none" not in results  # as the published tool, which says nothing of a chunk without a frame

    from virnucpro.run.directory import RunDirectory

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "merge", stop)
        assert run(*arguments, "--legacy-output", "-o", out) == 130
    (out / "units" / "unit_000002").unlink()
    assert run(*arguments, "-o", out, "--resume") == 2  # other files than were begun
    assert "--legacy-output was True and is False" in capsys.readouterr().err
    assert run(*arguments, "--legacy-output", "-o", out, "--resume") == 0
    for path in (tmp_path / "whole").iterdir():
        if path.name != "run.json":
            assert (out / path.name).read_bytes() == path.read_bytes()
    assert (out / "prediction_results_highestscore.csv").is_file()


def test_other_models_and_standard_output_have_no_such_files(tmp_path, capsys):
    (tmp_path / "reads.fa").write_text(RECORDS)
    assert run("predict", tmp_path / "reads.fa", "--legacy-output", "-o", tmp_path / "out") == 2
    assert "use --model published-500" in capsys.readouterr().err
    assert run("predict", tmp_path / "reads.fa", "--legacy-output", "-o", "-") == 2


def test_another_chunk_length_is_refused_with_the_right_command(model, tmp_path, capsys):
    (tmp_path / "reads.fa").write_text(RECORDS)
    arguments = ["predict", tmp_path / "reads.fa", "--model", model, "-o", tmp_path / "out", "--chunk-length"]
    assert run(*arguments, 300) == 2
    message = capsys.readouterr().err
    assert "published-500 was trained with chunks of 500 nt, not of 300; use --model published-300" in message
    assert run(*arguments, 400) == 2
    assert "not of 400; use --chunk-length 500, or another --model" in capsys.readouterr().err
    assert run(*arguments, 500) == 0
