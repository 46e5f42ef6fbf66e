"""What can be given as sequences, and what becomes of it."""

import os
import threading
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from virnucpro import Record, read_records
from virnucpro.api.sequences import GivenSequences, record_of
from virnucpro.errors import InputError, MissingInputError

PAIRS = [("a", "ACGTacgu"), ("b", "NNRY"), ("a", ""), ("å", "-ACG*")]
EXPECTED = [("a", b"ACGTACGU"), ("b", b"NNRY"), ("a", b""), ("å", b"-ACG*")]


class Seq:
    """What Biopython's Seq has in common with this: its letters as bytes, and iteration over them."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def __bytes__(self) -> bytes:
        return self.letters.encode()

    def __iter__(self):
        return iter(self.letters)


Row = namedtuple("Row", "name letters")


def as_pyfastx(pairs):
    """Objects whose `id` is a number, from an iterable that begins anew with each `iter`, as pyfastx.Fasta does."""

    class Fasta:
        def __iter__(self):
            self.left = [SimpleNamespace(id=i, name=name, seq=text) for i, (name, text) in enumerate(pairs, start=1)]
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            return self.left.pop(0)

    return Fasta()


MADE = {
    "tuples": lambda pairs: list(pairs),
    "a generator": lambda pairs: (pair for pair in pairs),
    "named tuples": lambda pairs: [Row(*pair) for pair in pairs],
    "bytes": lambda pairs: [(name.encode(), text.encode()) for name, text in pairs],
    "other bytes": lambda pairs: [(name, bytearray(text.encode())) for name, text in pairs],
    "numpy": lambda pairs: zip(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]), strict=True),
    "records": lambda pairs: [Record(name, text.encode()) for name, text in pairs],
    "biopython": lambda pairs: (SimpleNamespace(id=n, name="<unknown name>", seq=Seq(t)) for n, t in pairs),
    "pyfastx": as_pyfastx,
    "dnaio": lambda pairs: [SimpleNamespace(name=name, sequence=text, qualities=None) for name, text in pairs],
}


@pytest.mark.parametrize("made", MADE)
def test_records_of_every_kind(made):
    records = list(GivenSequences(MADE[made](PAIRS)))
    assert [(record.id, record.sequence) for record in records] == EXPECTED
    assert [record.index for record in records] == [0, 1, 2, 3]


@pytest.mark.parametrize("patience", [None, 60.0])
def test_blocks_are_those_of_a_file(tmp_path, patience):
    path = tmp_path / "x.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in PAIRS))
    blocks = {}
    for name, given in {"file": path, "files": [path], "pairs": PAIRS, "later": iter([path])}.items():
        source = GivenSequences(given)
        blocks[name] = [[(r.id, r.sequence, r.index) for r in b.records()] for b in source.blocks(3, 100, patience)]
        assert (source.records, source.total()) == (4, 4)
    assert blocks["file"] == blocks["files"] == blocks["pairs"] == blocks["later"]
    assert [len(block) for block in blocks["file"]] == [3, 1]
    assert [(record.id, record.sequence) for record in read_records(path)] == EXPECTED


def test_dicts_and_numbers_and_single_objects():
    by_name = dict(PAIRS[:2])
    assert [record.id for record in GivenSequences(by_name)] == ["a", "b"]
    objects = {"x": SimpleNamespace(id="other", seq="acg")}
    assert [(record.id, record.sequence) for record in GivenSequences(objects)] == [("x", b"ACG")]
    assert [record.id for record in GivenSequences(enumerate(["ACG", "TTT"]))] == ["0", "1"]
    assert [record.id for record in GivenSequences([(np.int64(7), "A")])] == ["7"]
    given = Record("r", b"acg", "x.fq", 5, "text", b"III")
    (record,) = GivenSequences(given)
    assert (record.id, record.sequence, record.source, record.index) == ("r", b"ACG", "x.fq", 0)
    assert (record.description, record.quality) == ("text", b"III")
    assert list(GivenSequences([])) == list(GivenSequences({})) == list(GivenSequences(iter(()))) == []


def test_ids_are_kept_whole():
    assert record_of(("a b|c;d", "ACG"), 0).id == "a b|c;d"
    assert os.fsencode(record_of((b"\xff", "ACG"), 0).id) == b"\xff"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "must be a path"), (5, "must be a path"), ([None], "record number 1 is None"),
        ([("a", "ACG", "x")], "record number 1 is"), ([("x", None)], r"record 'x' \(number 1\) must be text or bytes"),
        ([(None, "ACG")], "id of record number 1"), ([("\ud800", "ACG")], "id of record number 1"),
        ([(1.5, "ACG")], "got 1.5"), ([("x", "ACJ")], r"record 'x' \(number 1\): 'J' at position 3.*proteins"),
        ([("x", "AC GT")], "remove numbers and blanks"), ([("x", "ACÅ")], "at position 3"),
        ([("x\ty", "ACG")], r"record 'x\\ty'.*a tab"), ([("x\n>y", "ACG")], "a line end"),
        (["ACGT" * 8], r"looks like a sequence.*enumerate"), ("ACGTN" * 8, "looks like a sequence"),
        ([Record("x", b"ACG", quality=b"II")], "3 letters and 2 qualities"),
        ([Record("x", b"ACG", quality=b"I\xffI")], "position 2 of its qualities"),
        ([Record("x", b"", mates=(Record("x", b"A"), Record("x", b"C")))], "is a pair"),
    ],
)  # fmt: skip
def test_faults_name_the_record(given, words):
    with pytest.raises(InputError, match=words):
        list(GivenSequences(given))


def test_a_fault_of_a_list_is_said_at_once_if_its_first_item_has_it():
    with pytest.raises(InputError, match="number 1"):
        GivenSequences([("x", "ACJ")])
    later = GivenSequences([("x", "ACG"), ("y", "ACJ")])
    records = iter(later)
    assert next(records).id == "x"
    with pytest.raises(InputError, match=r"record 'y' \(number 2\)"):
        next(records)
    with pytest.raises(MissingInputError):
        list(GivenSequences("absent.fa"))


def test_proteins_have_more_letters():
    assert [record.sequence for record in GivenSequences([("p", "mkEFILPQ*")], "protein")] == [b"MKEFILPQ*"]


def test_a_stream_that_is_slow_is_read_as_it_comes(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    go_on = threading.Event()

    def write():
        with path.open("w") as pipe:
            pipe.write(">a\nACG\n>b\nTTT\n>c\n")
            pipe.flush()
            go_on.wait()
            pipe.write("GGG\n")

    writer = threading.Thread(target=write)
    writer.start()
    blocks = GivenSequences(path).blocks(100, 1000, 0.01)
    first = [record.id for record in next(blocks).records()]
    go_on.set()
    assert first in (["a"], ["a", "b"])
    assert first + [record.id for block in blocks for record in block.records()] == ["a", "b", "c"]
    writer.join()
