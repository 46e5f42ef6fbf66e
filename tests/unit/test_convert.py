"""A published-style classifier, pickled by a script of its own, comes through unchanged; other files are refused."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from virnucpro.cli.main import main
from virnucpro.errors import ModelError
from virnucpro.pretrained.convert import load_published_classifier

# Runs as __main__, as the published scripts do: so the class is pickled as __main__.MLPClassifier.
SCRIPT = """
import sys
from collections import OrderedDict
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)

class MLPClassifier(nn.Module):
    def __init__(self, input_dim, hidden_dim, num_class):
        super().__init__()
        self.hidden_layer = nn.Linear(input_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.output_layer = nn.Linear(hidden_dim, num_class)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.output_layer(self.dropout(F.relu(self.bn1(self.hidden_layer(x)))))

def write(directory, variant, input_dim=6, hidden_dim=4, num_class=2):
    torch.manual_seed(input_dim)
    model = MLPClassifier(input_dim, hidden_dim, num_class)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        labels = torch.randint(0, num_class, (64,))
        F.cross_entropy(model(2 * torch.randn(64, input_dim) + 1), labels).backward()
        optimizer.step()
    model.eval()
    if variant == "older torch":  # kept its parameters so
        for module in model.modules():
            for name in ("_parameters", "_buffers", "_modules"):
                object.__setattr__(module, name, OrderedDict(getattr(module, name)))
    if variant == "eps":
        model.bn1.eps = 1e-3
    if variant == "sequential":
        model.dropout = nn.Sequential(nn.Linear(2, 2))
    if variant == "another layer":
        model.attention = nn.Linear(2, 2)
    if variant == "half":
        model.half()
    if variant == "nan":
        model.bn1.running_var[0] = float("nan")
    if variant == "transposed":
        model.hidden_layer.weight = nn.Parameter(model.hidden_layer.weight.data.T.contiguous().T)
    options = {"legacy": {"_use_new_zipfile_serialization": False}, "protocol 4": {"pickle_protocol": 4}}
    torch.save(model, f"{directory}/{variant}.pth", **options.get(variant, {}))
    if variant in ("as published", "older torch"):
        features = torch.randn(256, input_dim)
        with torch.no_grad():
            logits = model(features)
        torch.save((features, logits), f"{directory}/{variant} outputs.pt")
        with open(f"{directory}/{variant} scores.txt", "w") as file:
            for row in F.softmax(logits, dim=1).numpy():
                file.write("\\t".join(map(str, row)) + "\\n")

for variant in sys.argv[2:]:
    write(sys.argv[1], variant)
write(sys.argv[1], "as published", 3328, 512)
write(sys.argv[1], "three classes", num_class=3)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """A directory of classifiers, written as the published script writes them."""
    path = tmp_path_factory.mktemp("published")
    (path / "train.py").write_text(SCRIPT)
    subprocess.run([sys.executable, path / "train.py", path, "small", "older torch", *OTHERS], check=True)
    return path


@pytest.fixture
def small(directory, tmp_path) -> Path:
    """A copy of a small classifier, to be damaged."""
    return shutil.copy(directory / "small.pth", tmp_path / "500_model.pth")


# In a fresh process as the script's, since what a process computed before may decide how it adds.
COMPARE = """
import sys
from pathlib import Path
import torch
import torch.nn.functional as F
from virnucpro.models.classifier import MLPClassifier
from virnucpro.pretrained.convert import load_published_classifier
from virnucpro.pretrained.weights import load_state

torch.set_num_threads(1)
for variant, shape in (("as published", (3328, 512)), ("older torch", (6, 4))):
    stem = f"{sys.argv[1]}/{variant}"
    state = load_published_classifier(Path(f"{stem}.pth"))
    ours = MLPClassifier(*shape)
    load_state(ours, state, "file")
    features, logits = torch.load(f"{stem} outputs.pt", weights_only=True)
    with torch.no_grad():
        found, gates = ours.eval()(features)
    assert found.equal(logits) and not gates.any()
    lines = ["\\t".join(map(str, row)) for row in F.softmax(found, dim=1).numpy()]
    assert lines == Path(f"{stem} scores.txt").read_text().splitlines()  # every digit as published
    assert state["bn1.num_batches_tracked"] == 3
"""


def test_published_classifiers_give_the_same_outputs(directory):
    subprocess.run([sys.executable, "-c", COMPARE, directory], check=True)


OTHERS = {
    "legacy": "not a zip archive",
    "protocol 4": "instruction FRAME, which torch.save does not write",
    "eps": "'bn1' is not a plain BatchNorm1d",
    "sequential": r"asks for 'torch\.nn\.modules\.container\.Sequential'",
    "another layer": "has the layers .*'attention'",
    "half": r"asks for 'torch\.HalfStorage'",
    "nan": r"'bn1\.running_var' has values that are not finite",
    "transposed": "strides",
}


@pytest.mark.parametrize(("variant", "message"), OTHERS.items())
def test_another_classifier_is_refused(directory, variant, message):
    with pytest.raises(ModelError, match=rf"{variant}\.pth is not a published classifier: .*{message}"):
        load_published_classifier(directory / f"{variant}.pth")


def test_more_classes_are_refused(directory):
    with pytest.raises(ModelError, match=r"'output_layer\.weight' has shape \(3, 4\), needs \(2, 4\)"):
        load_published_classifier(directory / "three classes.pth")


@pytest.mark.parametrize("data", [b"", b"PK\5\6" + bytes(18), pickle.dumps({}), b"\0" * 1000, None])
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "500_model.pth"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelError, match=str(path)):
        load_published_classifier(path)


def test_every_truncation_is_refused(small):
    data = small.read_bytes()
    for length in range(0, len(data), 97):
        small.write_bytes(data[:length])
        with pytest.raises(ModelError):
            load_published_classifier(small)


def test_a_changed_byte_is_refused_or_changes_nothing_but_a_field_that_is_not_read(small):
    data, state = small.read_bytes(), load_published_classifier(small)
    refused = 0
    for place in range(0, len(data), 41):
        small.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            found = load_published_classifier(small)
        except ModelError:
            refused += 1
        else:
            assert all(found[name].equal(value) for name, value in state.items())
    assert refused > 50


def test_a_chunk_length_the_published_tool_has_not_is_a_wrong_option(small, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["models", "import", "--classifier", str(small), "--chunk-length", "400", "-o", str(tmp_path / "m")])
    assert end.value.code == 2
    assert "must be 300 or 500" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
