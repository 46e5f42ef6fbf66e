"""The commands and programs of README.md and docs/ run, on stand-ins for the files that they name.

All blocks of a page run in one directory, one after the other, as a reader would type them. What must not run here says
so in the Markdown; its commands and options must at least exist.
"""

import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from docs.pages import PAGES, ROOT, RUN, SHOWN, Block, blocks, blocks_of
from support.published_files import write_esm2

from virnucpro.cli.main import app

EXAMPLES = ROOT / "examples"
TICKS = "```"
# How far a number may be from the printed one: processors with and without bfloat16 differ so much.
CLOSE = 0.03
PROTEINS = ">p1\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n>p2\nMAHHHHHHVGTGSNDDDDKSPDPNWELVYTARLQ\n"
GENOMAD = "seq_name\tchromosome_score\tplasmid_score\tvirus_score\nlambda_2021-2520\t0.1\t0.1\t0.8\n"


def _fastq(path: Path, reads: list[list[str]], *mates: str) -> None:
    text = "".join(f"{read[0].split()[0]}{mate}\n{''.join(read[1:])}" for read in reads for mate in mates)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory) -> Path:
    """Files by the names that the pages use, cut from the examples so that they are soon done."""
    made = tmp_path_factory.mktemp("stand_ins")
    lines = gzip.decompress((EXAMPLES / "reads.fastq.gz").read_bytes()).decode().splitlines(keepends=True)
    reads = [lines[i : i + 4] for i in range(0, len(lines), 16)]
    for name in ("reads.fastq.gz", "reads.fq.gz", "reads.fq", "reads_1.fastq.gz", "left.fq", "other.fq.gz"):
        _fastq(made / name, reads, "")
    for name, mate in (("R1.fq.gz", "/1"), ("R2.fq.gz", "/2"), ("left_1.fq", "/1"), ("left_2.fq", "/2")):
        _fastq(made / name, reads, mate)
    _fastq(made / "both.fq.gz", reads, "/1", "/2")
    lambda_ = (EXAMPLES / "lambda.fa").read_text()
    ecoli = gzip.decompress((EXAMPLES / "ecoli.fa.gz").read_bytes()).decode()
    sequences = [entry.partition("\n")[2] for entry in (lambda_ + ecoli).split(">")[1:18]]
    contigs = [f">contig_{number}\n{sequence}" for number, sequence in enumerate(sequences, start=1)]
    (made / "contigs.fa").write_text("".join(contigs))
    letters = ["".join(line for line in text.splitlines() if line[0] != ">") for text in (ecoli, lambda_, ecoli)]
    (made / "genome.fa").write_text(f">genome with a piece of lambda\n{letters[0]}{letters[1]}{letters[2]}\n")
    gene = "genome\tmade\tCDS\t{}\t{}\t.\t{}\t0\tID=cds-{}\n"
    genes = (gene.format(start, start + 700, "+-"[start % 2], start) for start in range(1, len(letters[0]), 901))
    (made / "genome.gff3").write_text("##gff-version 3\n" + "".join(genes))
    names = [read[0][1:].split()[0] for read in reads]
    labels = ((name, "virus" if name.startswith("lambda") else "bacteria") for name in names)
    (made / "truth.tsv").write_text("seq_name\tclass\n" + "".join(f"{name}\t{label}\n" for name, label in labels))
    (made / "proteins.faa").write_text(PROTEINS)
    write_esm2(made / "esm2_t6_8M_UR50D")
    (made / "genomad.tsv").write_text(GENOMAD)
    (made / "DATA" / "val").mkdir(parents=True)
    (made / "DATA" / "val" / "virus.fna").write_text(lambda_)
    (made / "DATA" / "val" / "bacteria.fna").write_text(ecoli)
    return made


def run(block: Block, directory: Path, shell: dict[str, str]) -> str:
    """Run a block in a directory and return what it printed on both streams; it must end well."""
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    if block.language == "python":
        (directory / ".block.py").write_text(block.text)
        command = ["python", ".block.py"]
    done = subprocess.run(
        command, cwd=directory, env=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, executable=shutil.which(command[0], path=shell["PATH"]),
    )  # fmt: skip
    assert done.returncode == 0, (
        f"{block.page}, line {block.line}:\n{block.text}\nended with {done.returncode}:\n{done.stdout}"
    )
    return done.stdout


def dialogue(block: Block) -> Iterator[tuple[Block, str]]:
    """Yield each command of a block of console and what the page says that it prints."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield Block(block.page, block.line, "sh", command, None), printed


def alike(shown: str, printed: str) -> bool:
    """Tell whether two texts have the same words; numbers may differ by `CLOSE`, and `...` stands for any word."""
    words = shown.split(), printed.split()
    return len(words[0]) == len(words[1]) and all(_same(a, b) for a, b in zip(*words, strict=True))


def _same(shown: str, printed: str) -> bool:
    numbers = [re.fullmatch(r"(\d+\.\d+)(%?[,;:]?)", word) for word in (shown, printed)]
    if numbers[0] and numbers[1] and numbers[0][2] == numbers[1][2]:
        scale = 100 if "%" in numbers[0][2] else 1
        return abs(float(numbers[0][1]) - float(numbers[1][1])) <= CLOSE * scale
    return shown in ("...", printed)


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("a 0.51 b", "a  0.52\nb", True), ("a 0.51", "a 0.59", False), ("took ... s", "took 2.8 s", True),
        ("0.51,", "0.52,", True), ("0.51,", "0.52%", False),
        ("52.3%", "54.1%", True), ("52.3%", "0.52", False), ("12 records", "13 records", False), ("a", "a b", False),
    ],
)  # fmt: skip
def test_what_is_printed_is_compared(shown: str, printed: str, expected: bool) -> None:
    assert alike(shown, printed) is expected


def test_blocks_are_found() -> None:
    text = (
        f"{TICKS}sh\na\n{TICKS}\n<!-- not run: why -->\n{TICKS}sh\nb\n{TICKS}\n- x\n  {TICKS}python\n  c\n  {TICKS}\n"
    )
    found = [(block.line, block.language, block.text, block.why) for block in blocks("page", text)]
    assert found == [(1, "sh", "a\n", None), (4, "sh", "b\n", "why"), (9, "python", "c\n", None)]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language(page: str) -> None:
    assert {block.language for block in blocks_of(page)} <= {*RUN, *SHOWN}
    assert PAGES[page].read_text().count(TICKS) == 2 * len(blocks_of(page))


def runnable(page: str) -> list[Block]:
    return [block for block in blocks_of(page) if block.language in RUN and block.why is None]


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)])
def test_commands_run(page: str, shell, stand_ins: Path, tmp_path: Path) -> None:
    shutil.copytree(stand_ins, tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    for block in runnable(page):
        if block.language != "console":
            run(block, tmp_path, shell)
            continue
        for command, shown in dialogue(block):
            printed = run(command, tmp_path, shell)
            assert alike(shown, printed), f"{page}: {command.text}\nprinted:\n{printed}\nand not:\n{shown}"


def test_a_command_that_fails_is_noticed(shell, tmp_path: Path) -> None:
    for text in (
        "virnucpro predict absent.fa -o out",
        "virnucpro predict --no-such-option",
        "false | true",
        "no-such-program",
    ):
        with pytest.raises(AssertionError, match="ended with"):
            run(Block("page", 1, "sh", text, None), tmp_path, shell)
    with pytest.raises(AssertionError, match="ended with 70"):
        run(Block("page", 1, "python", "assert False", None), tmp_path, shell)


COMMANDS = typer.main.get_command(app)
_USE = re.compile(r"\bvirnucpro (?P<rest>[^`|;&\n]+)")


def uses(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command in the code of a page, as its name and the options given to it."""
    text = re.sub(r"\\\n", " ", markdown)
    code = [
        *re.findall(r"`([^`\n]+)`", text),
        *(block.text for block in blocks("", text) if block.language in ("sh", "console")),
    ]
    for found in _USE.finditer("\n".join(code)):
        words = found["rest"].split(" #")[0].split()
        name = next((word for word in words if not word.startswith("-")), "")
        yield name, [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]


def known_options(name: str) -> set[str]:
    group = COMMANDS.commands[name]
    parameters = [*COMMANDS.params, *group.params]
    for command in getattr(group, "commands", {}).values():
        parameters += command.params
    more = {"--help", "-h", "--install-completion", "--show-completion"}
    return more.union(*(option for parameter in parameters for option in (parameter.opts, parameter.secondary_opts)))


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    for name, options in uses(PAGES[page].read_text(encoding="utf-8")):
        if name and name != "COMMAND":
            assert name in COMMANDS.commands, f"{page} has `virnucpro {name}`"
            unknown = set(options) - known_options(name)
            assert not unknown, f"{page} has `virnucpro {name}` with {unknown}"
