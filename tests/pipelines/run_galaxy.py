"""Run the tests of a Galaxy tool without Galaxy: its parser, templates and comparisons, the command in a plain shell.

Usage: run_galaxy.py TOOL.xml DIRECTORY. The command is filled in with the parameters of each test and run in a new
folder of DIRECTORY; outputs are compared as Galaxy compares them.
"""

import subprocess
import sys
from pathlib import Path

from galaxy.tool_util.parser import get_tool_source
from galaxy.tool_util.verify import verify
from galaxy.util.template import fill_template


class Value(str):
    """A parameter as templates see it: its text, and what hangs below it; a file has the name of its dataset."""

    def __new__(cls, text="", element_identifier=""):
        value = super().__new__(cls, text)
        value.element_identifier = element_identifier
        return value


def parameters(tool, given, data):
    """Return the parameters of the tool's pages: those that the test gives, defaults for the rest."""
    values = {}
    for element in tool.xml_tree.getroot().find("inputs").iter("param", "conditional"):
        if element.tag == "conditional":
            values[element.get("name")] = Value()
            continue
        name = element.get("name") or element.get("argument").lstrip("-").replace("-", "_")
        owner = next((node for node in element.iterancestors("conditional")), None)
        key = name if owner is None else f"{owner.get('name')}|{name}"
        text = given.pop(key, None)
        if text is None:
            default = element.find("option[@selected='true']")
            text = element.get("value", "") if default is None else default.get("value")
        value = Value(data / text, text) if element.get("type") == "data" else Value(text)
        if owner is None:
            values[name] = value
        else:
            setattr(values[owner.get("name")], name, value)
    if given:
        raise ValueError(f"the tool has no parameters {', '.join(given)}")
    return values


def wanted(tool, values):
    """Return where each output that passes its filter lies."""
    known = {name: vars(value) or value for name, value in values.items()}
    outputs = tool.xml_tree.getroot().findall("outputs/data")
    return {
        output.get("name"): output.get("from_work_dir")
        for output in outputs
        if all(eval(filter.text, {}, known) for filter in output.findall("filter"))
    }


def main(path, directory):
    tool = get_tool_source(path)
    data = Path(path).resolve().parent / "test-data"
    for number, test in enumerate(tool.parse_tests_to_dict()["tests"], 1):
        given = {one["name"]: one["value"] for one in test["inputs"]}
        values = parameters(tool, given, data)
        command = fill_template(tool.parse_command(), context=values, python_template_version="3.8")
        folder = directory / str(number)
        folder.mkdir()
        subprocess.run(["bash", "-euc", " ".join(command.split("\n"))], cwd=folder, check=True)
        outputs = wanted(tool, values)
        assert len(outputs) == int(test["expect_num_outputs"]), sorted(outputs)
        for expected in test["outputs"]:
            content = (folder / outputs[expected["name"]]).read_bytes()
            verify(
                expected["name"],
                content,
                expected["attributes"],
                filename=expected["value"],
                get_filecontent=lambda name: (data / name).read_bytes(),
            )
        print(f"test {number}: {len(test['outputs'])} outputs as expected")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
