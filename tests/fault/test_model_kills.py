"""Downloads and imports of models that are killed, however often and wherever, lose nothing and leave no half model."""

import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.files import contents
from support.hub import COMMIT, HubHandler, HubServer, serving
from support.models import seeded
from support.published_files import INPUT_DIM, MLPClassifier, pickle_classifier, run_command, write_dnabert, write_esm2

from virnucpro.cli.main import main
from virnucpro.pretrained.locations import SHIPPED, list_models
from virnucpro.pretrained.verification import verify_model
from virnucpro.pretrained.weights import sha256

KILLS = 20


class Hub(HubServer):
    """A hub that sends so slowly that a kill finds it at work; `sent` counts bytes of files."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Handler)
        self.sent, self.slow = 0, True


class Handler(HubHandler):
    server: Hub

    def answer(self, method: str) -> None:
        owner, name, file = re.fullmatch(r"/([^/]+)/([^/]+)/resolve/[^/]+/([^/]+)", self.path).groups()
        path = self.server.root / owner / name / file
        data = path.read_bytes() if path.is_file() else b""
        first = self.first_byte()
        headers = {"Content-Length": len(data) - first, "Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        if data:
            headers |= {"ETag": f'"{sha256(path)}"', "X-Repo-Commit": COMMIT}
        self.reply(404 if not data else 206 if first else 200, headers)
        for begin in range(first, len(data) if method == "GET" else 0, 2048):
            self.wfile.write(data[begin : begin + 2048])
            self.wfile.flush()
            self.server.sent += 2048
            if self.server.slow:
                time.sleep(0.002)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Small models as they are published, and a classifier."""
    root = tmp_path_factory.mktemp("hub")
    (root / "facebook").mkdir()
    write_esm2(root / "facebook" / "esm2_t6_8M_UR50D", "sharded safetensors")
    (root / "zhihan1996").mkdir()
    write_dnabert(root / "zhihan1996" / "DNABERT-S")
    with seeded(1):
        pickle_classifier(root / "model.pth", MLPClassifier(INPUT_DIM, 16))
    return root


@pytest.fixture
def hub(files):
    with serving(Hub(files)) as server:
        yield server


@pytest.fixture(scope="module")
def start():
    """Start a command in a process that has imported all it needs, so that a kill finds it at work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["support.published_files", "virnucpro.pretrained.download", "huggingface_hub.file_download"]
    )

    def started(arguments: list[object]) -> multiprocessing.process.BaseProcess:
        command = os.environ["VIRNUCPRO_MODELS"], [str(argument) for argument in arguments]
        process = context.Process(target=run_command, args=command, daemon=True)
        process.start()
        return process

    return started


def require_no_half_model(models: Path) -> bool:
    """Check that what has the name of a model is a whole one; return whether it is there."""
    shown = [path for path in models.iterdir() if not path.name.startswith(".")] if models.is_dir() else []
    for path in shown:
        assert all(problem is None for _, problem in verify_model(str(path)))
    assert {path for name, path in list_models().items() if name not in SHIPPED} == set(shown)
    return bool(shown)


def downloaded(models: Path) -> int:
    """Return how many bytes of files have come."""
    return sum(path.stat().st_size for path in models.rglob("*") if path.is_file() and ".import" not in str(path))


def kill_often(
    begin: Callable[[], multiprocessing.process.BaseProcess], models: Path, moment: Callable[[], None]
) -> tuple[int, int]:
    """Kill a command KILLS times at its work; return how often it was killed, and was done before the kill came."""
    killed = done = 0
    while killed < KILLS:
        assert done < 4 * KILLS
        process = begin()
        before = downloaded(models)
        moment()
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        done += process.exitcode == 0
        whole = require_no_half_model(models)
        assert whole or process.exitcode != 0
        if whole:  # begin anew
            for path in models.iterdir():
                if not path.name.startswith("."):
                    path.rename(models.parent / f"{path.name}_{killed}_{done}")
        else:
            assert downloaded(models) >= before  # what had come stays
    return killed, done


def test_twenty_kills_of_a_download_lose_nothing(hub, start, tmp_path, monkeypatch):
    models, moments = tmp_path / "models", random.Random(1)
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(models))
    arguments = ["-q", "models", "download", "esm2-8M", "--mirror", f"http://127.0.0.1:{hub.server_port}", "-o"]
    unbroken = start([*arguments, tmp_path / "unbroken"])
    unbroken.join()
    assert unbroken.exitcode == 0
    total, expected = hub.sent, contents(tmp_path / "unbroken")

    def moment() -> None:
        wanted = hub.sent + moments.randrange(total // 6)
        deadline = time.monotonic() + 0.4  # the last steps send nothing
        while hub.sent < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))

    kill_often(lambda: start([*arguments, models / "esm2-8M"]), models, moment)
    last = start([*arguments, models / "esm2-8M"])
    last.join()
    assert last.exitcode == 0
    assert contents(models / "esm2-8M") == expected
    assert [path.name for path in models.iterdir()] == ["esm2-8M"]
    for path in tmp_path.glob("esm2-8M_*"):
        assert contents(path) == expected


def test_twenty_kills_of_an_import_lose_nothing(files, start, tmp_path, monkeypatch):
    models, moments = tmp_path / "models", random.Random(2)
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(models))
    arguments = [
        "-q", "models", "import", "--classifier", files / "model.pth", "--chunk-length", "500", "--dnabert",
        files / "zhihan1996" / "DNABERT-S", "--esm2", files / "facebook" / "esm2_t6_8M_UR50D", "-o",
    ]  # fmt: skip
    begun = time.monotonic()
    unbroken = start([*arguments, tmp_path / "unbroken"])
    unbroken.join()
    seconds = time.monotonic() - begun
    assert unbroken.exitcode == 0
    expected = contents(tmp_path / "unbroken")
    models.mkdir()

    def moment() -> None:
        if moments.random() < 0.5:  # while it writes
            place, deadline = models / ".mine.import" / "model", time.monotonic() + seconds
            while not place.exists() and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(moments.uniform(0, 0.01))
        else:
            time.sleep(moments.uniform(0, 0.8 * seconds))

    kill_often(lambda: start([*arguments, models / "mine"]), models, moment)
    last = start([*arguments, models / "mine"])
    last.join()
    assert last.exitcode == 0
    assert contents(models / "mine") == expected
    assert [path.name for path in models.iterdir()] == ["mine"]
    for path in tmp_path.glob("mine_*"):
        assert contents(path) == expected


def test_a_signal_stops_a_download_that_goes_on_later(hub, start, tmp_path, monkeypatch):
    models = tmp_path / "models"
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(models))
    arguments = ["-q", "models", "download", "esm2-8M", "--mirror", f"http://127.0.0.1:{hub.server_port}"]
    process = start([*arguments, "-o", models / "esm2-8M"])
    while hub.sent < 50_000:
        assert process.is_alive()
        time.sleep(0.001)
    process.terminate()
    process.join()
    assert process.exitcode == 75
    held, sent = downloaded(models), hub.sent
    assert held > 30_000
    hub.slow = False
    again = start([*arguments, "-o", models / "esm2-8M"])
    again.join()
    assert again.exitcode == 0
    whole = sum(path.stat().st_size for path in (hub.root / "facebook" / "esm2_t6_8M_UR50D").iterdir())
    assert hub.sent - sent < whole - held + 2048 * 12  # each answer is counted in pieces of 2048 bytes
    assert require_no_half_model(models)


# Runs the command line, and is killed just before the first event of this kind on a path that ends like this.
KILLED_AT = """
import os, signal, sys

event, end, *arguments = sys.argv[1:]


def watch(happened, details):
    if happened == event and str(details[0]).endswith(end):
        os.kill(os.getpid(), signal.SIGKILL)


from virnucpro.cli.main import main

sys.addaudithook(watch)
main(arguments)
"""


@pytest.mark.parametrize(
    ("event", "end"),
    [
        ("os.rename", ".part"),
        ("open", "encoder.json"),  # the model is whole but for its description
        ("os.rename", ".esm2-8M.import/model"),
        ("shutil.rmtree", ".esm2-8M.download"),
    ],
)
def test_a_kill_at_any_step(hub, tmp_path, monkeypatch, event, end):
    models = tmp_path / "models"
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(models))
    hub.slow = False
    arguments = ["-q", "models", "download", "esm2-8M", "--mirror", f"http://127.0.0.1:{hub.server_port}"]
    command = [sys.executable, "-c", KILLED_AT, event, end, *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert require_no_half_model(models) == (event == "shutil.rmtree")
    if event != "shutil.rmtree":
        assert downloaded(models) > 0
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code
    require_no_half_model(models)
    assert {path.name for path in models.iterdir()} == {"esm2-8M"}
    assert (
        json.loads((models / "esm2-8M" / "encoder.json").read_text())["training"]["imported"]["protein"]["revision"]
        == COMMIT
    )
