"""`embed`, `scan` and `merge` killed at random steps: what was there stays until the new files are whole."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
from support.files import contents

from virnucpro.run.replacement import UNFINISHED

# Of a new run, and as many of one that replaces an earlier one; VIRNUCPRO_KILLS=10 takes four minutes.
KILLS = int(os.environ.get("VIRNUCPRO_KILLS", "5"))

# Forks for each line: the limit, the directory that is watched, the arguments. The child runs the command line, and is
# killed just before it does the limit-th thing to a file in the directory; without a limit it counts these things.
ZYGOTE = """
import json, os, signal, sys

from virnucpro.cli.main import main
from virnucpro.environment import make_sums_reproducible

make_sums_reproducible()
import matplotlib.figure
import virnucpro.run.embeddings, virnucpro.run.predictions, virnucpro.run.run, virnucpro.run.scan, virnucpro.run.shards
import virnucpro.report.tracks, virnucpro.report.write

virnucpro.run.embeddings.SHARD_RECORDS = 20
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


def run(limit, folder, counter, arguments):
    happened = 0

    def watch(event, details):
        nonlocal happened
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in EVENTS or writes) and str(details[0]).startswith(folder):
            happened += 1
            if happened == limit:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        main(arguments)
    finally:
        with open(counter, "w") as file:
            file.write(str(happened))


print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a command that is killed at a step in a directory; return its exit code and the number of its steps."""
    counter = tmp_path_factory.mktemp("steps") / "steps"
    command = [sys.executable, "-c", ZYGOTE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
        assert zygote.stdout.readline() == "ready\n"

        def run(folder, arguments, limit=0):
            arguments = ["-q", *map(str, arguments)]
            zygote.stdin.write(json.dumps([limit, str(folder), str(counter), arguments]) + "\n")
            zygote.stdin.flush()
            code = int(zygote.stdout.readline())
            return code, int(counter.read_text()) if code == 0 else None

        yield run
        zygote.stdin.close()


def without_leftovers(files):
    return {name: data for name, data in files.items() if not name.startswith(".")}


def moments(steps):
    """Return at which steps to kill: random ones, the last among them."""
    return [*random.Random(steps).choices(range(1, steps), k=KILLS - 1), steps]


class Case:
    """A command, an earlier result E and the new one N of another input, and how a killed one goes on."""

    def __init__(self, run, folder, earlier, new, again):
        self.run, self.folder, self.new, self.again = run, folder, new, again
        self.before, self.after = folder / "earlier", folder / "new"
        assert run(self.before, earlier(self.before))[0] == 0
        assert run(self.after, new(self.after))[0] == 0
        assert contents(self.before, "run.json") != contents(self.after, "run.json")

    def check(self, restart):
        """Kill it at each moment and let it go on."""
        out, expected, earlier = (
            self.folder / "out",
            contents(self.after, "run.json"),
            contents(self.before, "run.json"),
        )
        more = ["--restart"] if restart else []

        def prepared():
            shutil.rmtree(out, ignore_errors=True)
            if restart:
                shutil.copytree(self.before, out)

        prepared()
        code, steps = self.run(out, [*self.new(out), *more])
        assert (code, contents(out, "run.json")) == (0, expected)
        killed = 0
        for moment in moments(steps):
            prepared()
            code, _ = self.run(out, [*self.new(out), *more], moment)
            killed += code == -signal.SIGKILL
            found = without_leftovers(contents(out, "run.json")) if out.exists() else {}
            if restart and any(found.get(name) != data for name, data in earlier.items()):
                self.is_whole(out, expected)
            code, _ = self.run(out, [*self.new(out), self.again])
            assert code == 0, moment
            assert contents(out, "run.json") == expected, moment
            assert not (out / UNFINISHED).exists()
        assert killed >= KILLS - 1

    def is_whole(self, out, expected):
        """Check that each new file is there, perhaps not in its place."""
        for name, data in expected.items():
            places = (out / name, out / UNFINISHED / name, *out.glob(f".{name}.*.tmp"))
            made_after = name == "report.html" or name.endswith(("_mqc.json", ".png"))  # of the tables
            assert made_after or any(path.is_file() and path.read_bytes() == data for path in places), name


@pytest.mark.parametrize("restart", [False, True], ids=["new", "restart"])
def test_embed(run, lab, tmp_path, restart):
    amino = random.Random(3)
    for name, number in (("one", 70), ("two", 110)):
        proteins = ("".join(amino.choices("ACDEFGHIKLMNPQRSTVWY", k=amino.randrange(5, 40))) for _ in range(number))
        (tmp_path / f"{name}.faa").write_text("".join(f">p{i}\n{protein}\n" for i, protein in enumerate(proteins)))

    def command(name):
        fixed = ["--model", lab.model, "-t", 1, "--precision", "fp32", "--device", "cpu"]
        return lambda out: ["embed", tmp_path / f"{name}.faa", "-o", out, *fixed]

    case = Case(run, tmp_path, command("one"), command("two"), "--resume")
    assert len(contents(case.after, "run.json")) == 7
    if not restart:
        case.check(restart)
        return
    # A kill before there is anything to go on with leaves the earlier run, of the other input: begin anew then.
    goes_on = case.run

    def resumed(folder, arguments, limit=0):
        if arguments[-1] == "--resume" and not (folder / UNFINISHED / "run.json").exists():
            arguments = [*arguments[:-1], "--restart"]
        return goes_on(folder, arguments, limit)

    case.run = resumed
    case.check(restart)


@pytest.mark.parametrize("restart", [False, True], ids=["new", "restart"])
def test_scan(run, lab, tmp_path, restart):
    for name, seed in (("one", 1), ("two", 2)):
        letters = random.Random(seed)
        text = "".join(f">r{i}\n{''.join(letters.choices('ACGT', k=900))}\n" for i in range(4))
        (tmp_path / f"{name}.fa").write_text(text)

    def command(name):
        found = ["--min-posterior", 0.0001, "--min-length", 0, "--neutral", -40, "--plots", "png"]
        fixed = ["--model", lab.model, "-t", 1, "--precision", "fp32", "--device", "cpu"]
        return lambda out: ["scan", tmp_path / f"{name}.fa", "-o", out, *found, *fixed]

    case = Case(run, tmp_path, command("one"), command("two"), "--restart")
    assert len([name for name in contents(case.after, "run.json") if name.endswith(".png")]) == 4
    case.check(restart)


@pytest.mark.parametrize("restart", [False, True], ids=["new", "restart"])
def test_merge(run, lab, tmp_path, restart):
    parts = []
    for name, score in (("one", 0.9), ("two", 0.5)):
        for shard in (1, 2):
            part = tmp_path / f"{name}_{shard}"
            more = ["--shard", f"{shard}/2", "--min-score", score, "--unit-records", 60]
            assert run(part, lab.arguments(part, *more))[0] == 0
            parts.append(part)
    before = [contents(part / "units", "run.json") for part in parts]

    def command(numbers):
        return lambda out: ["merge", *(parts[number] for number in numbers), "-o", out]

    case = Case(run, tmp_path, command((0, 1)), command((2, 3)), "--restart")
    assert lab.tables(case.after) == lab.expected
    case.check(restart)
    assert [contents(part / "units", "run.json") for part in parts] == before
