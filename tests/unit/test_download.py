"""Downloads from a local server that speaks like the Hugging Face hub: resumed, verified, mirrored, offline."""

import hashlib
import json
import logging
import re
import shutil
from collections import Counter
from pathlib import Path

import huggingface_hub
import pytest
from safetensors.torch import load_file
from support.commands import run
from support.files import contents
from support.hub import COMMIT, HubHandler, HubServer, serving
from support.models import seeded
from support.published_files import INPUT_DIM, MLPClassifier, pickle_classifier, write_dnabert, write_esm2

from virnucpro import load_model
from virnucpro.errors import ConfigError, ModelError, OutputError
from virnucpro.models import (
    DNABERT,
    ESM2,
    ESM2_SHAPES,
)
from virnucpro.pretrained import (
    catalogue,
    download,
)
from virnucpro.pretrained.catalogue import CATALOGUE, DNABERT_S_117M
from virnucpro.pretrained.locations import SHIPPED, list_models
from virnucpro.pretrained.registry import load_encoder
from virnucpro.pretrained.weights import git_blob_id, sha256, shapes_only

WEIGHTS = "facebook/esm2_t36_3B_UR50D/model.safetensors"


class Hub(HubServer):
    """A hub: `root` holds OWNER/NAME/FILE; `answers` notes what was asked; faults are by file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Handler)
        self.asked: list[tuple[str, str, str | None]] = []
        self.cuts: Counter[str] = Counter()  # how often an answer breaks off half-way
        self.broken: set[str] = set()  # files that come with another byte
        self.failing: set[str] = set()  # files that the server fails to send after they broke off
        self.headers: dict[str, str | None] = {}

    def ranges(self, file: str) -> list[str | None]:
        """Return the ranges of the downloads of a file."""
        return [place for method, name, place in self.asked if method == "GET" and name == file]


class Handler(HubHandler):
    server: Hub

    def answer(self, method: str) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        name = f"{match[1]}/{match[3]}" if match else ""
        path, place = self.server.root / name, self.headers.get("Range")
        self.server.asked.append((method, name, place))
        if not match or not path.is_file() or match[2] not in ("main", COMMIT):
            return self.reply(404, {"X-Error-Code": "EntryNotFound", "Content-Length": 0})
        if method == "GET" and name in self.server.failing and not self.server.cuts[name]:
            return self.reply(503, {"Content-Length": 0})
        data = path.read_bytes()
        first = self.first_byte()
        large = path.suffix in (".safetensors", ".bin", ".pth")
        etag = sha256(path) if large else git_blob_id(path)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data))}
        headers |= {"Content-Length": str(len(data) - first), "Accept-Ranges": "bytes"} | self.server.headers
        if place:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.reply(206 if place else 200, headers)
        if method == "HEAD":
            return
        if name in self.server.broken:
            data = data[:-1] + bytes([data[-1] ^ 1])
        if self.server.cuts[name]:
            self.server.cuts[name] -= 1
            self.wfile.write(data[first : first + (len(data) - first) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data[first:])


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    """Small models laid out as on the hub."""
    root = tmp_path_factory.mktemp("hub")
    for owner in ("zhihan1996", "facebook", "Li-Jing-1997/VirNucPro"):
        (root / owner).mkdir(parents=True)
    write_dnabert(root / "zhihan1996" / "DNABERT-S")
    write_esm2(root / "facebook" / "esm2_t36_3B_UR50D")
    write_esm2(root / "facebook" / "esm2_t6_8M_UR50D", "sharded bin")
    with seeded(1):
        pickle_classifier(root / "Li-Jing-1997" / "VirNucPro" / "500_model.pth", MLPClassifier(INPUT_DIM, 16))
    with seeded(2):
        pickle_classifier(root / "Li-Jing-1997" / "VirNucPro" / "300_model.pth", MLPClassifier(INPUT_DIM, 16))
    return root


@pytest.fixture
def hub(repositories, tmp_path, monkeypatch):
    """A running hub; models go to `tmp_path / "models"`, and these small classifiers pass for the published ones."""
    ids = {git_blob_id(repositories / f"Li-Jing-1997/VirNucPro/{n}_model.pth"): n for n in (300, 500)}
    for digest in list(catalogue.CLASSIFIERS):
        monkeypatch.delitem(catalogue.CLASSIFIERS, digest)
    for digest, length in ids.items():
        monkeypatch.setitem(catalogue.CLASSIFIERS, digest, length)
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [])  # of the first test's stderr
    with serving(Hub(repositories)) as server:
        yield server


def test_a_model_is_downloaded_and_used_by_its_name(hub, tmp_path, capsys):
    assert run("predict", __file__, "--model", "published-500", "-o", tmp_path / "out") == 1
    assert "`virnucpro models download published-500` (12 GB)" in capsys.readouterr().err
    assert hub.asked == []
    assert run("models", "list") == 0
    assert "published-500\tpublished-500\t500\tNA\t12 GB to download" in capsys.readouterr().out

    assert run("models", "download", "published-500", "--mirror", hub.url) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "licences: zhihan1996/DNABERT-S: see its model card; facebook/esm2_t36_3B_UR50D: MIT; Li-Jing" in printed.err
    directory = tmp_path / "models" / "published-500"
    assert printed.err.splitlines()[-1] == f"virnucpro: published-500 is complete in {directory}"
    assert [path.name for path in directory.parent.iterdir()] == ["published-500"]  # nothing is left beside it
    assert run("models", "verify", "published-500") == 0
    assert load_model("published-500").description.chunk_length == 500
    assert list_models().keys() == {*SHIPPED, "published-500"}
    capsys.readouterr()
    assert run("models", "list") == 0
    assert f"published-500\tpublished-500\t500\t3\t{directory}" in capsys.readouterr().out

    asked = len(hub.asked)
    assert run("models", "download", "published-500", "--mirror", hub.url) == 0
    assert len(hub.asked) == asked  # it is there


def test_what_came_is_recorded(hub, tmp_path):
    directory = download.download_model("published-500", mirror=hub.url)
    origin = json.loads((directory / "model.json").read_text())["training"]["imported"]
    source = hub.root / "facebook" / "esm2_t36_3B_UR50D"
    assert origin["protein"] == {
        "repository": "facebook/esm2_t36_3B_UR50D",
        "licence": "MIT",
        "revision": COMMIT,
        "files": {
            name: {"bytes": (source / name).stat().st_size, "sha256": sha256(source / name)}
            for name in ("config.json", "model.safetensors")
        },
    }
    assert origin["nucleotide"]["files"].keys() == {"config.json", "tokenizer.json", "pytorch_model.bin"}
    (digest,) = (digest for digest, length in catalogue.CLASSIFIERS.items() if length == 500)
    assert origin["classifier"]["git_blob"] == digest
    # after the first answer named the commit, everything is asked of it; no code is asked for
    assert {name for _, name, _ in hub.asked if name.endswith(".py")} == set()


def test_a_cut_connection_is_taken_up_again_at_once(hub, tmp_path, capfd):
    hub.cuts[WEIGHTS] = 1
    directory = download.download_model("published-500", mirror=hub.url)
    size = (hub.root / WEIGHTS).stat().st_size
    first, second = hub.ranges(WEIGHTS)
    assert first is None
    assert 0 < int(re.fullmatch(r"bytes=(\d+)-", second)[1]) <= size // 2
    assert load_file(directory / "protein.safetensors").keys() >= {"embedding.weight"}


def test_a_later_attempt_goes_on_where_the_first_broke_off(hub, tmp_path, capsys):
    hub.cuts[WEIGHTS], hub.failing = 1, {WEIGHTS}
    assert run("-q", "models", "download", "published-500", "--mirror", hub.url) == 1
    message = capsys.readouterr().err
    assert "model.safetensors cannot be downloaded" in message
    assert "run the same command again" in message
    assert "Traceback" not in message
    models = tmp_path / "models"
    assert [path.name for path in models.iterdir()] == [".published-500.download"]
    (part,) = models.rglob("*.part")
    held = part.stat().st_size
    assert held > 0
    hub.failing, asked = set(), len(hub.asked)
    assert run("-q", "models", "download", "published-500", "--mirror", hub.url) == 0
    assert [a for a in hub.asked[asked:] if a[0] == "GET" and a[1] == WEIGHTS] == [("GET", WEIGHTS, f"bytes={held}-")]
    assert not hub.ranges("zhihan1996/DNABERT-S/pytorch_model.bin")[1:]  # what was there is not asked for again
    assert load_model("published-500").protein.model.n_layers == 2


@pytest.mark.parametrize("file", [WEIGHTS, "zhihan1996/DNABERT-S/config.json", "Li-Jing-1997/VirNucPro/500_model.pth"])
def test_a_wrong_checksum_is_an_error_and_leaves_nothing_to_go_on_with(hub, tmp_path, capsys, file):
    hub.broken = {file}
    assert run("-q", "models", "download", "published-500", "--mirror", hub.url) == 1
    path = hub.root / file
    expected = sha256(path) if file == WEIGHTS else git_blob_id(path)
    message = capsys.readouterr().err
    assert f"{path.name} was downloaded with the checksum " in message
    assert f"expected {expected}" in message
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "models" / "published-500").exists()
    hub.broken = set()
    assert run("-q", "models", "download", "published-500", "--mirror", hub.url) == 0


def test_a_server_without_checksums_or_commits(hub, tmp_path):
    hub.headers = {"ETag": '"1234-5678"'}
    with pytest.raises(ModelError, match=r"gives no checksum \(its ETag is '1234-5678'\)"):
        download.download_model("dnabert-s", mirror=hub.url)
    hub.headers = {"X-Repo-Commit": None}
    directory = download.download_model("dnabert-s", mirror=hub.url)
    assert '"revision": "main"' in (directory / "encoder.json").read_text()


def test_a_language_model_alone(hub, tmp_path, capsys):
    assert run("-q", "models", "download", "esm2-8M", "--mirror", hub.url, "-o", tmp_path / "esm") == 0
    asked = {name.split("/")[-1] for method, name, _ in hub.asked if method == "GET"}
    index = "pytorch_model.bin.index.json"
    assert asked == {"config.json", index, "pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"}
    part, encoder = load_encoder(str(tmp_path / "esm"))
    assert (part, encoder.window.limit, encoder.model.training) == ("protein", None, False)
    assert run("models", "verify", tmp_path / "esm") == 0
    assert capsys.readouterr().out == "encoder.json\tok\nprotein.safetensors\tok\nhead.safetensors\tok\n"
    with pytest.raises(ModelError, match="without a classifier; use it with `virnucpro embed`"):
        load_model(str(tmp_path / "esm"))
    with pytest.raises(ConfigError, match="kind must be protein for the model"):
        load_encoder(str(tmp_path / "esm"), "nucleotide")
    (tmp_path / "esm" / "protein.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="damaged or was changed"):
        load_encoder(str(tmp_path / "esm"))
    with pytest.raises(ModelError, match=r"damaged.*or remove .* and run `virnucpro models download esm2-8M`"):
        download.download_model("esm2-8M", tmp_path / "esm", mirror=hub.url)


def test_language_models_that_are_here_are_not_downloaded_again(hub, tmp_path, caplog):
    first = download.download_model("published-500", mirror=hub.url)
    asked = len(hub.asked)
    second = download.download_model("published-300", mirror=hub.url)
    assert {name for _, name, _ in hub.asked[asked:]} == {"Li-Jing-1997/VirNucPro/300_model.pth"}
    one, two = contents(first), contents(second)
    assert {name for name in one if one[name] == two[name]} == set(one) - {"model.json", "classifier.safetensors"}
    imported = [json.loads((path / "model.json").read_text())["training"]["imported"] for path in (first, second)]
    assert imported[0]["protein"] == imported[1]["protein"]
    assert f"is copied from {first}" in caplog.text


# ---- without a network


def test_a_directory_is_a_mirror(hub, tmp_path):
    from_server = download.download_model("published-500", tmp_path / "a", mirror=hub.url)
    asked = len(hub.asked)
    assert (
        run("-q", "models", "download", "published-500", "--mirror", hub.root, "--offline", "-o", tmp_path / "b") == 0
    )
    assert len(hub.asked) == asked
    one, two = contents(from_server), contents(tmp_path / "b")
    assert one.pop("model.json") != two.pop("model.json")  # no revision is known
    assert one == two


def test_the_cache_serves_offline(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert run("-q", "models", "download", "dnabert-s", "--offline") == 1
    assert "not in the Hugging Face cache" in capsys.readouterr().err
    for file in ("config.json", "tokenizer.json", "pytorch_model.bin"):
        huggingface_hub.hf_hub_download(
            "zhihan1996/DNABERT-S", file, endpoint=hub.url, cache_dir=tmp_path / "cache", token=False
        )
    asked = len(hub.asked)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert run("-q", "models", "download", "dnabert-s") == 0  # as the variable says
    assert len(hub.asked) == asked
    assert load_encoder("dnabert-s")[0] == "nucleotide"
    assert run("-q", "models", "download", "published-500", "--offline", "--mirror", tmp_path / "no") == 1
    assert "is neither a directory nor a URL" in capsys.readouterr().err


def test_a_copied_directory_is_a_model(hub, tmp_path, monkeypatch, capsys):
    directory = download.download_model("published-500", mirror=hub.url)
    elsewhere = tmp_path / "air-gapped" / "published-500"
    shutil.copytree(directory, elsewhere)
    shutil.rmtree(directory)
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(elsewhere.parent))
    assert run("models", "verify", "published-500") == 0
    assert load_model("published-500").description == load_model(str(elsewhere)).description


# ---- what is refused


def test_a_mirror_without_the_classifier_asks_for_the_file(hub, tmp_path, capsys):
    lacking = tmp_path / "partial"
    shutil.copytree(hub.root, lacking)
    classifier = tmp_path / "500_model.pth"
    shutil.move(lacking / "Li-Jing-1997" / "VirNucPro" / "500_model.pth", classifier)
    hub.root = lacking
    for mirror in (hub.url, lacking):
        assert run("-q", "models", "download", "published-500", "--mirror", mirror) == 1
        assert "give" in (message := capsys.readouterr().err)
        assert "--classifier 500_model.pth" in message
    wrong = lacking / "Li-Jing-1997" / "VirNucPro" / "300_model.pth"
    arguments = ["-q", "models", "download", "published-500", "--mirror", hub.url, "--classifier"]
    assert run(*arguments, wrong) == 1
    assert "is not the published classifier: its git object id is" in capsys.readouterr().err
    assert run(*arguments, tmp_path / "none.pth") == 1
    assert "No such file" in capsys.readouterr().err
    assert run(*arguments, classifier) == 0


def test_what_is_no_name_or_no_server(hub, tmp_path, capsys):
    assert run("-q", "models", "download", "esm3") == 1
    assert (
        "there is no model 'esm3' to download; choose one of published-300, published-500, esm2-8M"
        in capsys.readouterr().err
    )
    assert run("-q", "models", "download", "esm2-35M", "--mirror", hub.url) == 1  # not on this server
    assert "esm2_t12_35M_UR50D/resolve/main/config.json cannot be downloaded" in capsys.readouterr().err
    (hub.root / "facebook" / "esm2_t30_150M_UR50D").mkdir(exist_ok=True)
    shutil.copy(hub.root / "facebook/esm2_t6_8M_UR50D/config.json", hub.root / "facebook/esm2_t30_150M_UR50D")
    assert run("-q", "models", "download", "esm2-150M", "--mirror", hub.url) == 1
    assert "has no model.safetensors at revision" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        download.download_model("dnabert-s", tmp_path / "file" / "below", mirror=hub.url)


# ---- what the catalogue says


def test_sizes_are_those_of_the_shapes():
    with shapes_only():
        counts = {size: sum(p.numel() for p in ESM2(shape).parameters()) for size, shape in ESM2_SHAPES.items()}
        dnabert = sum(p.numel() for p in DNABERT().parameters())
    assert {size: repository.weights for size, repository in catalogue.ESM2.items()} == counts
    assert DNABERT_S_117M.weights == dnabert
    names = [f"facebook/esm2_t{shape.layers}_{size}_UR50D" for size, shape in ESM2_SHAPES.items()]
    assert [repository.name for repository in catalogue.ESM2.values()] == names
    assert set(CATALOGUE) == {"published-300", "published-500", "dnabert-s", *(f"esm2-{size}" for size in ESM2_SHAPES)}


def test_a_git_object_id(tmp_path):
    (tmp_path / "file").write_bytes(b"content\n")
    assert git_blob_id(tmp_path / "file") == hashlib.sha1(b"blob 8\0content\n").hexdigest()
    assert git_blob_id(tmp_path / "file") == "d95f3ad14dee633a758d2e331151e950dd13e4ed"  # of `git hash-object`
