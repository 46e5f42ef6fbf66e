"""What Hypothesis draws for several tests: sequences with all that is odd, limits, frame rules, blocks of records."""

from hypothesis import strategies as st

from virnucpro.config import FrameRule
from virnucpro.seq.block import RecordBlock
from virnucpro.seq.screen import Limits
from virnucpro.types import Record

odd = "ACGTACGTACGTNURYSWKMBDHV-.*X"
stretches = st.one_of(
    st.text("ACGT", max_size=120),
    st.text(odd, max_size=40),
    st.text("AC", max_size=60),
    st.builds(lambda n: "N" * n, st.sampled_from([1, 2, 3, 4, 5, 6, 49, 50, 51, 100])),
    st.builds(lambda base, n: base * n, st.sampled_from("ACGTU"), st.integers(1, 40)),
    st.builds(  # a homopolymer with errors in it
        lambda base, errors: "".join(base if error > 3 else "ACGN"[error] for error in errors),
        st.sampled_from("ACGTU"),
        st.lists(st.integers(0, 25), max_size=60),
    ),
)
sequences = st.lists(stretches, max_size=6).map(lambda parts: "".join(parts).encode())
limits = st.builds(
    Limits,
    st.sampled_from([3, 10, 50, 75, 300]),
    st.sampled_from([3, 20, 100, 500]),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([0.02, 0.15, 1.0]),
    st.booleans(),
)
rules = st.one_of(
    st.just(FrameRule("stop_free")),
    st.builds(
        FrameRule,
        st.just("longest_segments"),
        st.integers(1, 6),
        st.sampled_from([1, 5, 20]),
        st.sampled_from(["own", "longest"]),
        st.sampled_from([0.0, 0.3, 0.75, 1.0]),
    ),
)
names = st.sampled_from(["r", "r", "read_1/1", "é", "", "a|b", "\udcff.2", "r_chunk_1"])
descriptions = st.sampled_from(["", "", "d", "d  e", "d ", " ", "1:N:0:A"])


@st.composite
def parts(draw: st.DrawFn) -> Record:
    """Return an entry of a file, FASTA or FASTQ."""
    sequence = draw(sequences)
    quality = bytes(33 + (7 * i + len(sequence)) % 94 for i in range(len(sequence))) if draw(st.booleans()) else b""
    return Record(draw(names), sequence, description=draw(descriptions), quality=quality)


@st.composite
def blocks(draw: st.DrawFn, most: int = 6) -> RecordBlock:
    """Return consecutive records, all single or all pairs, of which ids may repeat."""
    n, first = draw(st.integers(1, most)), draw(st.sampled_from([0, 5]))
    if draw(st.booleans()):
        both = [(draw(names), draw(parts()), draw(parts())) for _ in range(n)]
        records = [Record(name, b"", index=first + i, mates=(one, two)) for i, (name, one, two) in enumerate(both)]
    else:
        records = [draw(parts()) for _ in range(n)]
        records = [
            Record(one.id, one.sequence, one.source, first + i, one.description, one.quality)
            for i, one in enumerate(records)
        ]
    return RecordBlock.of(records)
