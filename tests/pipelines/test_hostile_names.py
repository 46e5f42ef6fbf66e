"""Names of samples and files that a shell could run: other people's tools render the commands, and bash executes them.

`make check-integrations` installs and names the tools. A recorder of arguments takes the place of `virnucpro`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines.nextflow import INPUTS, case, groovy

HERE, PROGRAMS = Path(__file__).parents[2] / "integrations", Path(__file__).parent
TOOLS = Path(os.environ.get("VIRNUCPRO_TOOLS", ""))

pytestmark = pytest.mark.skipif(not TOOLS.name, reason="needs other tools: make check-integrations")

# Each runs the command `canary`, or becomes another word or an option, where it is not quoted.
BROKEN = "a\ncanary\n.fa"
NAMES = [
    "plain.fa", "it's.fa", "';canary;'.fa", 'a "b".fa', '";canary;".fa', "two words.fa", "$(canary).fa", "`canary`.fa",
    "a;canary;.fa", "a&canary&.fa", "a|canary", "a>over.fa", "$HOME.fa", "a\\.fa", "-rf.fa", "--device=x.fa", "*.fa",
    "?.fa", "[a-z].fa", "{a,b}.fa", "~.fa", "#.fa", "!x.fa", "\tx.fa", "ü.fa",
]  # fmt: skip
IDS = ["s' 1'", '"', "$(canary)", "`canary`", "a;canary", "a\ncanary\n", "-o", "*", "../up", ".", "", "a/b", "a|canary"]

RECORDER = """#!{python}
import json, os, sys
from pathlib import Path
if sys.argv[1] == "--version":
    sys.exit(print("0.1.0"))
with open(os.environ["RECORD"], "w") as file:
    json.dump(sys.argv[1:], file)
at = next(i for i, word in enumerate(sys.argv) if word.startswith("--output"))
folder = Path(sys.argv[at].partition("=")[2] or sys.argv[at + 1])
folder.mkdir(parents=True)
for name in ("records.tsv", "chunks.tsv", "frames.tsv", "viral.fasta", "report.html", "run.json", "virnucpro_mqc.json",
             "virnucpro_composition_mqc.json", "regions.tsv", "ids.tsv"):
    (folder / name).touch()
"""


class Place:
    """A folder to work in, in which `virnucpro` records its arguments and `canary` leaves a trace."""

    def __init__(self, folder: Path) -> None:
        self.work, self._record, self._trace = folder / "work", folder / "record.json", folder / "trace"
        programs = folder / "programs"
        for made in (self.work, programs, folder / "home"):
            made.mkdir()
        canary = f"#!/bin/sh\ntouch '{self._trace}'\n"
        for name, text in (("virnucpro", RECORDER.format(python=sys.executable)), ("canary", canary)):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        path = os.pathsep.join([str(programs), str(TOOLS / "bin"), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "HOME": str(folder / "home"), "RECORD": str(self._record)}

    def run(self, *command: object) -> tuple[int, str]:
        """Run a command; nothing hostile may have run meanwhile."""
        done = subprocess.run(
            list(map(str, command)), cwd=self.work, env=self._environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert not self._trace.exists(), done.stdout
        return done.returncode, done.stdout

    def tool(self, name: str, *arguments: object) -> tuple[int, str]:
        return self.run(TOOLS / "bin" / name, *arguments)

    def recorded(self) -> list[str] | None:
        """Return the arguments with which virnucpro was called, None if it was not."""
        return json.loads(self._record.read_text()) if self._record.exists() else None

    def files(self, names: list[str]) -> list[Path]:
        made = [self.work / name for name in names]
        for path in made:
            path.touch()
        return made


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_trace_of_what_is_not_quoted_is_noticed(place):
    with pytest.raises(AssertionError):
        place.run("bash", "-c", "virnucpro --version $(canary)")


@pytest.mark.parametrize(("command", "output", "options"), [
    ("predict", "records", ["--resume"]), ("scan", "regions", ["--restart"]), ("embed", "ids", ["--resume"]),
])  # fmt: skip
def test_snakemake_quotes_names(place, command, output, options):
    names = [*(name for name in NAMES if "{" not in name), BROKEN]  # braces are wildcards, which Snakemake refuses
    place.files(names)
    model, log, path = "$(canary) 'x", "logs/it's; canary;.log", "$(canary) it's;canary/table.tsv"
    (place.work / "Snakefile").write_text(
        f"rule one:\n    input: lambda wildcards: {names!r}\n    output: {output}={path!r}\n"
        f"    log: {log!r}\n    params: model={model!r}, extra='--device cpu'\n"
        f"    wrapper: 'file:{HERE}/snakemake/bio/virnucpro/{command}'\n"
    )
    code, said = place.tool("snakemake", "--cores", 1)
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[recorded.index("--") + 1 :] == names
    assert [word for word in recorded[: recorded.index("--")] if word not in ("--plots", "none")] == [
        command, f"--output={path}.run", *options, "--threads", "1", f"--model={model}", "--device", "cpu"
    ]  # fmt: skip
    assert (place.work / path).exists()
    assert (place.work / log).exists()


def run_wdl(place: Place, **task: object) -> tuple[int, str]:
    (place.work / "inputs.json").write_text(json.dumps({"retries": 0, **task}))
    command = ["python", PROGRAMS / "run_wdl.py", "run", HERE / "wdl/virnucpro.wdl", "--task", "predict", "--no-cache"]
    code, said = place.tool(*command, "-i", "inputs.json", "-d", "out/.")
    return code, said + "".join(path.read_text() for path in place.work.glob("out/stderr.txt"))


def test_wdl_quotes_names(place):
    preset = "';canary;' \"$(canary)\" `canary`"
    paths = place.files(NAMES)
    options = ["--min-length", "$(canary) it's;canary", "-x", "*"]
    code, said = run_wdl(place, id="sample 1", reads=[str(path) for path in paths], preset=preset, options=options)
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[:5] == ["predict", "--output", "sample 1", "--preset", preset]
    assert recorded[recorded.index("--") - len(options) : recorded.index("--")] == options
    assert [Path(path).name for path in recorded[recorded.index("--") + 1 :]] == NAMES


@pytest.mark.parametrize("id", IDS)
def test_wdl_refuses_ids(place, id):
    (path,) = place.files(["plain.fa"])
    code, said = run_wdl(place, id=id, reads=[str(path)])
    assert code != 0
    assert "the id of a sample has letters, digits, blanks and _ . + = - alone, got: " in said
    assert place.recorded() is None


def test_wdl_refuses_a_line_break_in_the_name_of_a_file(place):
    (path,) = place.files([BROKEN])
    code, said = run_wdl(place, id="s1", reads=[str(path)])
    assert code != 0
    assert place.recorded() is None
    assert "a line break in the name of a file or in an option; rename the file" in said


def galaxy_commands(place: Place, tool: str, names: list[str], kind: str) -> list[str]:
    """Return the command of a tool for each of several names of its input, rendered by Galaxy's templates."""
    code = """
import json, sys
sys.path.insert(0, sys.argv[1])
from run_galaxy import Value, fill_template, get_tool_source, parameters
from pathlib import Path
tool, commands = get_tool_source(sys.argv[2]), []
for name in json.loads(sys.argv[3]):
    kind, data = sys.argv[5], Value(sys.argv[4], element_identifier=name)
    values = parameters(tool, {"reads|kind": kind} if kind else {}, Path())
    if kind == "collection":
        values["reads"].pair = Value(name=name, forward=data, reverse=data)
    elif kind == "mates":
        values["reads"].forward = values["reads"].reverse = data
    elif kind:
        values["reads"].sequences = data
    else:
        values["sequences"] = data
    if "reads" in values:
        values["reads"].kind = Value(kind)
    commands.append(fill_template(tool.parse_command(), context=values, python_template_version="3.8"))
print(json.dumps(commands))
"""
    (data,) = place.files(["dataset_1.dat"])
    path = HERE / f"galaxy/virnucpro_{tool}.xml"
    status, said = place.tool("python", "-c", code, PROGRAMS, path, json.dumps(names), data, kind)
    assert status == 0, said
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize(
    ("tool", "kind", "endings"),
    [
        ("predict", "single", [""]),
        ("predict", "mates", ["", ""]),
        ("predict", "collection", ["_1", "_2"]),
        ("scan", "", [""]),
    ],
)
def test_galaxy_s_names_are_words(place, tool, kind, endings):
    names = [*NAMES, BROKEN, "", ".", "..", "../up", "a/b", ".hidden"]
    for name, command in zip(names, galaxy_commands(place, tool, names, kind), strict=True):
        folder = place.work / str(len(list(place.work.iterdir())))
        folder.mkdir()
        code, said = place.run("bash", "-euc", f"cd {folder.name}\n" + " ".join(command.split("\n")))
        assert code == 0, said
        recorded = place.recorded()
        given = recorded[-len(endings) :]
        for number, (path, ending) in enumerate(zip(given, endings, strict=True), 1):
            assert path.startswith(f"{number}/"), name
            assert (folder / path).read_bytes() == b""
            if name in ("plain.fa", "ü.fa"):
                assert path == f"{number}/{name}{ending}"
        assert recorded[0] == tool
        assert ("--paired" in recorded) == (len(endings) == 2)
        numbers = [str(number) for number, _ in enumerate(endings, 1)]
        assert sorted(path.name for path in folder.iterdir()) == [*numbers, "out"], name


def nextflow_cases(place: Place, module: str, *cases: dict[str, object]) -> list[dict[str, str]]:
    """Evaluate the process of an nf-core module for each of several cases."""
    code, said = place.run(*groovy(TOOLS, module, cases))
    assert code == 0, said
    return json.loads(said.splitlines()[-1])


def escaped(name: str) -> str:
    """Write a name as Nextflow writes it in a script: it escapes these characters and no others."""
    return "".join("\\" + letter if letter in "'\" ()\\!&|<>`:" else letter for letter in name)


SAFE = ["plain.fa", "it's.fa", 'a "b".fa', "two words.fa", "`canary`.fa", "a&canary&.fa", "a|canary", "a>over.fa",
        "a\\.fa", "-rf.fa", "--device=x.fa", "!x.fa"]  # fmt: skip


@pytest.mark.parametrize("module", INPUTS)
def test_nextflow_s_names_are_words(place, module):
    (declared,) = nextflow_cases(place, module, case(module, list(map(escaped, SAFE)), escaped("my model's")))
    (place.work / "script").write_text(declared["script"])
    code, said = place.run("bash", "-eu", "script")
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[0] == module
    assert recorded[recorded.index("--") + 1 :] == SAFE
    assert recorded[recorded.index("--model") + 1] == "my model's"


@pytest.mark.parametrize("module", INPUTS)
def test_nextflow_refuses_names_that_it_does_not_escape(place, module):
    names = [*(name for name in NAMES if name not in SAFE), BROKEN]
    cases = [case(module, [escaped(name)]) for name in names]
    refused = nextflow_cases(place, module, *cases, case(module, "plain.fa", escaped("$(canary)")))
    for name, declared in zip([*names, "the model"], refused, strict=True):
        message = "Rename the input, the shell would read its name as a command or pattern: "
        assert declared.get("error", "").startswith(message), name


@pytest.mark.parametrize("module", INPUTS)
def test_nextflow_refuses_ids(place, module):
    ids = [*IDS, "two words"]
    for id, declared in zip(
        ids, nextflow_cases(place, module, *(case(module, "a.fa", id=id) for id in ids)), strict=True
    ):
        message = "The name of a sample has letters, digits and _ . + = - alone, got: "
        assert declared.get("error", "").startswith(message), id
