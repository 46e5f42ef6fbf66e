"""Make docs/images/terminal.svg from what tmux shows of a run: python docs/terminal.py, with virnucpro on PATH."""

import gzip
import io
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
TMUX = ("tmux", "-L", "virnucpro-picture", "-f", "/dev/null")
PREDICT = "virnucpro predict reads.fastq.gz -o out"


def write_reads(path: Path, number: int = 6000) -> None:
    """Write pieces of 250 nt of the examples, a fifth of them of lambda, and some that are too short."""
    genomes = [
        (ROOT / "examples/lambda.fa").read_bytes(),
        gzip.decompress((ROOT / "examples/ecoli.fa.gz").read_bytes()),
    ]
    pieces = [["".join(entry.split("\n")[1:]) for entry in text.decode().split(">")[1:]] for text in genomes]
    chance = random.Random(1)
    with gzip.open(path, "wt") as file:
        for i in range(1, number + 1):
            piece = chance.choice(pieces[chance.random() > 0.2])
            length = chance.choice((250, 250, 250, 60))
            start = chance.randrange(len(piece) - length)
            file.write(f"@read_{i}\n{piece[start : start + length]}\n+\n{'I' * length}\n")


def shown(*wanted: str) -> str:
    """Wait until the terminal shows all that is wanted; return it with its colours."""
    for _ in range(1200):
        text = subprocess.run([*TMUX, "capture-pane", "-p", "-e"], capture_output=True, text=True, check=True).stdout
        if all(word in text for word in wanted):
            return text.rstrip()
        time.sleep(0.2)
    raise SystemExit(f"never shown: {wanted}")


def main() -> None:
    """The bar, which vanishes when the run is done, is put between the command and the summary."""
    with tempfile.TemporaryDirectory() as folder:
        write_reads(Path(folder) / "reads.fastq.gz")
        shell = "env PS1='$ ' bash --norc --noprofile"
        subprocess.run([*TMUX, "new-session", "-d", "-x", "80", "-y", "24", "-c", folder, shell], check=True)
        try:
            shown("$")
            subprocess.run([*TMUX, "send-keys", PREDICT, "Enter"], check=True)
            bar = shown("3,072 records", "left").splitlines()[-1]
            shown("are in out\n$")
            subprocess.run([*TMUX, "send-keys", "virnucpro explain out read_1", "Enter"], check=True)
            lines = shown("weight").splitlines()
        finally:
            subprocess.run([*TMUX, "kill-server"], check=True)
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(Text.from_ansi("\n".join([lines[0], bar, *lines[1:]])))
    picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="virnucpro"), flags=re.DOTALL)
    (ROOT / "docs/images/terminal.svg").write_text(picture)


main()
