"""Fuzz the commands that read records or tables: each ends with its exit code and one line, never with a traceback.

    python tests/fuzz/fuzz_commands.py --seconds 600 --seed 1          random input, in one process
    python tests/fuzz/fuzz_commands.py -max_total_time=600 -rss_limit_mb=0      libFuzzer, needs atheris

The commands run in this process, with a model of random weights that is so small that a run takes milliseconds. An
input is bytes: the first chooses the command, the next three its options, compression and how much is left of the file,
the rest is the content. An input that fails is written to runs/fuzz_commands/; its name as the only argument runs it.
"""

import argparse
import bz2
import gzip
import io
import lzma
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # support

try:
    import atheris
except ImportError:  # the random mode does without it
    atheris = None

with atheris.instrument_imports(include=["virnucpro"]) if atheris else nullcontext():
    import typer
    from support.files import fasta, zstd
    from support.lab import make_records
    from support.models import make_model, write_model

    from virnucpro.cli import main as command_line

# Once, not for every run: it takes longer than most runs do.
command_line.app = typer.main.get_command(command_line.app)

FOUND = Path("runs/fuzz_commands")
# What a command may end with: 1 is for a full disk or a damaged model, of which there are none here.
CODES = {0, 2, 65, 66}
COMMANDS = ["predict", "predict", "check", "scan", "compare", "frames", "embed"]
_common = ["-t", "1", "--device", "cpu", "--precision", "fp32"]


def lzma_fast(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


FORMS = [bytes] * 6 + [gzip.compress, bz2.compress, lzma_fast, zstd]


class Bench:
    """A folder with a model, and one run of a command at a time in a folder of its own."""

    def __init__(self, folder: Path, commands: Sequence[str] = COMMANDS) -> None:
        self.commands = commands
        self.model = write_model(make_model(), folder / "model")
        self.work = folder / "work"

    def run_one(self, data: bytes) -> tuple[str, int]:
        """Run the command that the bytes describe; return its name and exit code.

        Raises:
            AssertionError: it ended in another way than it may.
        """
        choice, options, form, left = (*data[:4], 0, 0, 0, 0)[:4]
        content = FORMS[form % len(FORMS)](data[4:])
        content = content[: len(content) - len(content) * max(0, left - 200) // 256]
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        name = self.commands[choice % len(self.commands)]
        return name, getattr(self, f"_{name}")(content, options)

    def _write(self, name: str, content: bytes) -> str:
        path = self.work / name
        path.write_bytes(content)
        return str(path)

    def _predict(self, content: bytes, options: int) -> int:
        source, output = self._write("input", content), str(self.work / "out")
        given = ["predict", source, "-o", output, "--model", str(self.model), *_common]
        given += ["--unit-records", str(1 + options % 3)]
        if options & 64:
            return self._pairs(content, given, options)
        if options & 16:
            given[3] = "-"
        code, _ = run(given)
        checked, said = run(["check", source, "--min-length", "20"])
        assert code == checked, f"predict ends with {code}, check with {checked}: {said}"
        if code == 0 and given[3] != "-":
            records = Path(output, "records.tsv").read_bytes().count(b"\n") - 1
            assert f"; records: {records}; " in said, f"{records} rows, but {said}"
            assert run([*given, "--resume"])[0] == 0
        return code

    def _pairs(self, content: bytes, given: list[str], options: int) -> int:
        if options & 32:
            return run([*given, "--interleaved"])[0]
        lines = content.splitlines(keepends=True)
        second = self._write("second", b"".join(lines[len(lines) // 2 :]) or content)
        return run([*given, second, "--paired"])[0]

    def _check(self, content: bytes, options: int) -> int:
        sources = [self._write("input", content)] * (1 + options % 2)
        return run([*(["-q"] if options & 4 else []), "check", *sources, "--min-length", str(1 + options)])[0]

    def _scan(self, content: bytes, options: int) -> int:
        given = ["scan", self._write("input", content), "-o", str(self.work / "out"), "--model", str(self.model)]
        plots = "png" if options % 16 == 3 else "none"
        given += [*_common, "--plots", plots, "--step", str(1 + options % 110), "--min-length", str(options % 3)]
        return run([*given, "--min-posterior", "0.3", *(["--remnants"] if options & 1 else [])])[0]

    def _frames(self, content: bytes, options: int) -> int:
        given = ["frames", self._write("input", content), "-o", str(self.work / "out")]
        return run([*given, "--chunk-length", str(3 + options)])[0]

    def _embed(self, content: bytes, options: int) -> int:
        given = ["embed", self._write("input", content), "-o", str(self.work / "out"), "--model", str(self.model)]
        given += [*_common, "--kind", "nucleotide" if options & 1 else "protein", "--max-length", str(5 + options)]
        given += ["--per-residue"] if options & 2 else []
        return run([*given, "--long", "refuse" if options & 4 else "window"])[0]

    def _compare(self, content: bytes, options: int) -> int:
        table = self._write("first.tsv", content)
        other = self._write("second.tsv", TABLES[options % len(TABLES)])
        given = ["compare", *([table, other] if options & 32 else [other, table]), "-o", str(self.work / "all.tsv")]
        if options & 64:
            given += ["--kraken-report", self._write("report", REPORT if options & 128 else content)]
        return run(given)[0]


RECORDS = b"seq_name\tlength\tn_chunks\tn_frames\tprediction\tvirus_score\tfdr\tbest_frame\tstatus\treason\n"
RECORDS += (
    b"a\t300\t1\t1\tvirus\t0.9\t0.01\ta_chunk_1F1\tok\tNA\nb\t20\t0\t0\tNA\tNA\tNA\tNA\ttoo_short\t20 nt, needs 75\n"
)
GENOMAD = b"seq_name\tchromosome_score\tplasmid_score\tvirus_score\na\t0.1\t0.2\t0.7\nb\t0.8\t0.1\t0.1\n"
VIRUSES = b"seq_name\tlength\ttopology\tcoordinates\tn_genes\tgenetic_code\tvirus_score\tfdr\tn_hallmarks\t"
VIRUSES += b"marker_enrichment\ttaxonomy\na|provirus_1_700\t700\tProvirus\t1-700\t3\t11\t0.9\tNA\t1\t2.0\tViruses\n"
KRAKEN = b"C\ta\t10239\t300\t10239:266\nU\tb\t0\t20\t0:1\n"
REPORT = b" 50.00\t1\t1\tU\t0\tunclassified\n 50.00\t1\t0\tR\t1\troot\n 50.00\t1\t1\tD\t10239\t  Viruses\n"
TABLES = [RECORDS, GENOMAD, VIRUSES, KRAKEN, REPORT]
READS = b"@a first\n%b\n+\n%b\n" % (b"ACGTTGCAAC" * 12, b"I" * 120)
SEEDS = [
    fasta(make_records(7)).encode(),
    fasta([(f"x{i // 2}/{1 + i % 2}", sequence) for i, (_, sequence) in enumerate(make_records(6, 8))]).encode(),
    READS + READS.replace(b"@a", b"@b") + b"@c\n\n+\n\n",
    READS.replace(b" first", b" 1:N:0:ACGT") + READS.replace(b" first", b" 2:N:0:ACGT"),
    b">a\nACGTACGTAACCacgtn-.*XRYUUU\n" * 4 + b">b\n\n",
]
PROTEINS = [b">p1\nMKVLAAGIVGLLLAQWMKVLAAG*\n>p2\nMSTNPKPQRKTKRNTNRRXBZUO\n", b">p\nMKVAAGTRSWHYNDCG\n" * 3]
OTHERS = [b"@HD\tVN:1.6\n@SQ\tSN:x\tLN:9\nr\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n", *PROTEINS, *TABLES, *SEEDS]
PIECES = [
    *(b"\t", b"\n", b"\r\n", b"\r", b">", b"@", b"+", b" ", b"\0", b"\xff", b"\xc3\xa9", b"\x0b", b"\x1c"),
    *(
        b"NA",
        b"nan",
        b"1e999",
        b"-1",
        b"9" * 25,
        b"/1",
        b"/2",
        b"||full",
        b"$x$",
        b"\\",
        b"%",
        b"'",
        b'"',
        b"*",
        b"../",
    ),
    *(b"\x85", b"../", b"\x1b[31m", b"\xe2\x80\xae", b"\xe2\x80\xa8", b"virus", b"N" * 40, b"ACGT" * 30),
]


def invent(chance: random.Random, commands: Sequence[str]) -> bytes:
    """Return a random input: seeds that are joined, and changed in some places."""
    choice = chance.randrange(len(commands))
    usual = {"compare": TABLES, "embed": PROTEINS}.get(commands[choice], SEEDS)
    seeds = chance.choice([usual, usual, usual, OTHERS])
    content = bytearray(chance.choice(seeds))
    if not chance.randrange(3):
        content += chance.choice(seeds)
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 4, 16])):
        place = chance.randrange(len(content) + 1)
        size = chance.choice([0, 0, 0, 1, 1, 5, 80])
        if chance.randrange(3):  # in a header, where more is allowed
            place, size = max(content.rfind(b">", 0, place), content.rfind(b"@", 0, place)) + 1, 0
        new = chance.choice([chance.choice(PIECES), chance.randbytes(chance.randrange(4)), content[place : place + 30]])
        content[place : place + size] = new
    return bytes([choice]) + chance.randbytes(3) + content


def run(arguments: list[str]) -> tuple[int, str]:
    """Run a command; return its exit code and what it said on standard output.

    Raises:
        AssertionError: its exit code is none that it may have, or an error takes more than a line.
    """
    with _streams() as (out, err):
        try:
            command_line.main(arguments)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    text = err.getvalue().decode("utf-8", "backslashreplace")
    assert code in CODES, f"{arguments}: exit code {code}: {text}"
    errors = text.count("virnucpro: error: ") + text.count("Usage: ")
    assert "Traceback" not in text, f"{arguments}: {text}"
    assert errors == (code != 0) or arguments[0] == "check" or "check" in arguments[:2], f"{arguments}: {text}"
    return code, out.getvalue().decode("utf-8", "backslashreplace")


@contextmanager
def _streams():
    """Put memory in the place of standard output and error."""
    before = sys.stdout, sys.stderr
    memory = io.BytesIO(), io.BytesIO()
    texts = [io.TextIOWrapper(one, "utf-8", "backslashreplace", write_through=True) for one in memory]
    sys.stdout, sys.stderr = texts
    try:
        yield memory
    finally:
        sys.stdout, sys.stderr = before
        for text in texts:
            text.detach()


def run_for(bench: Bench, seconds: float, seed: int, most: int = 10) -> list[Path]:
    """Run random inputs for so long, keep those that fail, at most so many; return their files."""
    chance, failed, counts = random.Random(seed), [], {}
    until = time.monotonic() + seconds
    while time.monotonic() < until and len(failed) < most:
        data = invent(chance, bench.commands)
        try:
            outcome = bench.run_one(data)
        except Exception as error:
            FOUND.mkdir(parents=True, exist_ok=True)
            failed.append(FOUND / f"failed_{seed}_{sum(counts.values())}")
            failed[-1].write_bytes(data)
            outcome = (type(error).__name__, 1)
            print(f"{failed[-1]}: {error!r}"[:2000], flush=True)
        counts[outcome] = counts.get(outcome, 0) + 1
    print(f"{sum(counts.values())} inputs in {seconds:.0f} s, seed {seed}, {len(failed)} failed:")
    for (name, code), n in sorted(counts.items()):
        print(f"  {name} {code}: {n}")
    return failed


def main() -> None:
    """Run the random mode, one input, or libFuzzer, by the arguments."""
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        if len(sys.argv) == 2 and os.path.isfile(sys.argv[1]):
            print(*Bench(Path(folder)).run_one(Path(sys.argv[1]).read_bytes()))
            return
        if not any(argument.startswith("--seconds") for argument in sys.argv):
            if atheris is None:
                sys.exit("give --seconds N, or install atheris: pip install atheris")
            atheris.Setup(sys.argv, Bench(Path(folder)).run_one)
            atheris.Fuzz()
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--seconds", type=float, required=True)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--only", nargs="+", choices=sorted(set(COMMANDS)), default=COMMANDS, metavar="COMMAND")
        given = parser.parse_args()
        bench = Bench(Path(folder), given.only)
        sys.exit(1 if run_for(bench, given.seconds, given.seed) else 0)


if __name__ == "__main__":
    main()
