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

    def __new__(cls, text="", **below):
        value = super().__new__(cls, text)
        vars(value).update(below)
        return value


def name_of(element):
    return element.get("name") or element.get("argument").lstrip("-").replace("-", "_")


def value_of(element, given, data):
    """Return the value of a parameter: what a test gives, else its default."""
    kind = element.get("type")
    if kind == "data_collection":
        parts = {part["element_identifier"]: part["element_definition"]["value"] for part in given["elements"]}
        files = {part: Value(data / file, element_identifier=part) for part, file in parts.items()}
        return Value(name=given["name"], **files)
    if kind == "data":
        return Value(data / given, element_identifier=given) if given else Value()
    if kind == "boolean":
        checked = (given or element.get("checked")) == "true"
        return Value(element.get("truevalue" if checked else "falsevalue") or ("true" if checked else ""))
    default = element.find("option[@selected='true']")
    return Value(given if given is not None else element.get("value", "") if default is None else default.get("value"))


def parameters(tool, given, data):
    """Return the parameters of the tool's pages: those that the test gives, defaults for the rest."""
    values, given = {}, dict(given)
    for element in tool.xml_tree.getroot().find("inputs").iter("param", "conditional"):
        if element.tag == "conditional":
            values[element.get("name")] = Value()
            continue
        owner = next((node for node in element.iterancestors("conditional")), None)
        key = name_of(element) if owner is None else f"{owner.get('name')}|{name_of(element)}"
        if element.get("type") == "data_collection" and key not in given:
            continue
        value = value_of(element, given.pop(key, None), data)
        if owner is None:
            values[name_of(element)] = value
        else:
            vars(values[owner.get("name")])[name_of(element)] = value
    if given:
        raise ValueError(f"the tool has no parameters {', '.join(given)}")
    return values


def wanted(tool, values):
    """Return where each output that passes its filter lies; a collection has a place for each element."""
    known = {name: vars(value) or value for name, value in values.items()}
    outputs = {}
    for output in tool.xml_tree.getroot().find("outputs"):
        if all(eval(filter.text, {}, known) for filter in output.findall("filter")):
            places = {part.get("name"): part.get("from_work_dir") for part in output.findall("data")}
            outputs[output.get("name")] = places if output.tag == "collection" else output.get("from_work_dir")
    return outputs


def check(name, path, value, attributes, data):
    def content(name):
        return (data / name).read_bytes()

    verify(name, path.read_bytes(), attributes, filename=value, get_filecontent=content)


def main(path, directory):
    tool = get_tool_source(path)
    data = Path(path).resolve().parent / "test-data"
    for number, test in enumerate(tool.parse_tests_to_dict()["tests"], 1):
        given = {one["name"]: one["attributes"].get("collection", one["value"]) for one in test["inputs"]}
        values = parameters(tool, given, data)
        command = fill_template(tool.parse_command(), context=values, python_template_version="3.8")
        folder = directory / str(number)
        folder.mkdir()
        subprocess.run(["bash", "-euc", " ".join(command.split("\n"))], cwd=folder, check=True)
        outputs = wanted(tool, values)
        # a collection counts, and so does each of its elements
        count = sum(1 + len(place) if isinstance(place, dict) else 1 for place in outputs.values())
        assert count == int(test["expect_num_outputs"]), sorted(outputs)
        for expected in test["outputs"]:
            place = folder / outputs.pop(expected["name"])
            check(expected["name"], place, expected["value"], expected["attributes"], data)
        for expected in test["output_collections"]:
            places = outputs.pop(expected["name"])
            assert list(places) == list(expected["element_tests"])
            for name, (value, attributes) in expected["element_tests"].items():
                check(name, folder / places[name], value, attributes, data)
        assert not outputs, f"not tested: {', '.join(outputs)}"
        print(f"test {number}: {count} outputs as expected")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
