"""Servers that answer what no hub does: nothing of it becomes a path, an address or a file without end."""

import json
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support.hub import COMMIT, HubHandler, HubServer, serving
from support.published_files import write_dnabert, write_esm2

from virnucpro.cli.main import main
from virnucpro.errors import ModelError, OutputError
from virnucpro.pretrained import download, transport
from virnucpro.pretrained.locations import SHIPPED, list_models
from virnucpro.pretrained.registry import load_encoder
from virnucpro.pretrained.weights import git_blob_id, sha256

ESM2 = "facebook/esm2_t6_8M_UR50D"
INDEX = "model.safetensors.index.json"
FIRST = "model-00001-of-00002.safetensors"


class Mirror(HubServer):
    """A hub with the files of `root`; `headers` and `bodies` change the answers to a method and a file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Handler)
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.headers: dict[tuple[str, str], dict[str, str | None]] = {}
        self.status: dict[tuple[str, str], int] = {}
        self.bodies: dict[str, Callable[[Handler, bytes], None]] = {}
        self.released = threading.Event()  # of those that wait


class Handler(HubHandler):
    server: Mirror

    def answer(self, method: str) -> None:
        match = re.fullmatch(r"/(?:moved/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        name = match[3] if match else self.path
        self.server.asked.append((method, self.path, {key.lower(): value for key, value in self.headers.items()}))
        path = self.server.root / match[1] / name if match else self.server.root / "none"
        if not path.is_file():
            return self.reply(404, {"Content-Length": 0})
        data = path.read_bytes()
        first = self.first_byte()
        headers = {
            "ETag": f'"{sha256(path) if path.suffix != ".json" else git_blob_id(path)}"',
            "X-Repo-Commit": COMMIT,
            "Content-Length": str(len(data) - first),
            **({"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}),
            **self.server.headers.get((method, name), {}),
        }
        self.reply(self.server.status.get((method, name), 206 if first else 200), headers)
        if method == "GET":
            self.server.bodies.get(name, lambda handler, rest: handler.wfile.write(rest))(self, data[first:])


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    (root / "facebook").mkdir()
    write_esm2(root / ESM2)
    (root / "zhihan1996").mkdir()
    write_dnabert(root / "zhihan1996" / "DNABERT-S")
    return root


@pytest.fixture
def serve(repositories, tmp_path, monkeypatch):
    """Start mirrors."""
    monkeypatch.setenv("VIRNUCPRO_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "handlers", [])
    monkeypatch.setattr(transport, "_PAUSE_SECONDS", 0.01)
    with ExitStack() as running:

        def start(root: Path = repositories) -> Mirror:
            server = running.enter_context(serving(Mirror(root)))
            running.callback(server.released.set)  # before it is shut down
            return server

        yield start


@pytest.fixture
def hurry():
    """Give a context in which a server must answer within a second."""

    @contextmanager
    def hurried() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transport, "PIECE_SECONDS", 0.5)
            patch.setattr(transport, "HEAD_SECONDS", 1.0)
            patch.setattr(transport, "STALL_SECONDS", 1.0)
            yield

    return hurried


@pytest.fixture
def mirror(serve) -> Mirror:
    return serve()


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refuse(mirror: Mirror, tmp_path: Path, message: str, name: str = "esm2-8M") -> None:
    """Download, which is to fail, and leaves nothing outside of its folder and no model."""
    before = tree(tmp_path)
    with pytest.raises((ModelError, OutputError), match=message):
        download.download_model(name, mirror=mirror.url)
    made = {path for path in tree(tmp_path) - before if path != "models"}
    assert all(path.startswith(f"models/.{name}.download") for path in made), made
    assert list_models() == SHIPPED


def succeed(mirror: Mirror) -> Path:
    directory = download.download_model("esm2-8M", mirror=mirror.url)
    assert load_encoder("esm2-8M")[0] == "protein"
    assert [path.name for path in directory.parent.iterdir()] == ["esm2-8M"]
    return directory


def test_an_ordinary_mirror(mirror):
    succeed(mirror)
    asked = [path for _, path, _ in mirror.asked]
    assert asked[0] == f"/{ESM2}/resolve/main/config.json"
    assert all(f"/resolve/{COMMIT}/" in path for path in asked[1:])


# ---- what becomes a path

COMMITS = [
    "../../..", "../../../../home", "/etc", "main", "", ".", COMMIT[:-1], COMMIT + "0",
    COMMIT.upper(), COMMIT.replace("0", "g"),
    f"{COMMIT}/..", "0" * 39 + "/", "a" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("commit", COMMITS)
def test_a_commit_is_40_hexadecimal_digits(mirror, tmp_path, commit):
    mirror.headers["HEAD", "config.json"] = {"X-Repo-Commit": commit}
    refuse(mirror, tmp_path, r"the server's commit \(X-Repo-Commit\) is .* not 40 hexadecimal digits")
    assert not (tmp_path / "models" / ".esm2-8M.download").exists()


NAMES = [
    "../../../../etc/.bashrc", "/etc/authorized_keys", "authorized_keys", ".bashrc", "..", "", "a\0.safetensors",
    "model.safetensors", "config.json", "MODEL-00001-OF-00002.safetensors", "model-1-of-2.safetensors", f"{FIRST}/",
    f"x/{FIRST}", f"{FIRST}\n", "model-00001-of-00002.bin", "model-00000-of-00002.safetensors", f"{FIRST}.sh",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_an_index_names_no_other_files(serve, tmp_path, name):
    root = tmp_path / "hub"
    write_with_index(root, {"a": FIRST, "b": name})
    mirror = serve(root)
    refuse(mirror, tmp_path, "not a weight file beside it")
    assert all(path.rsplit("/", 1)[-1] in ("config.json", "model.safetensors", INDEX) for _, path, _ in mirror.asked)
    assert list((tmp_path / "home").iterdir()) == []


def write_with_index(root: Path, places: Any, text: str | None = None) -> None:
    folder = root / ESM2
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / INDEX).write_text(text or json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    ("places", "text", "message"),
    [
        ({f"t{i}": f"model-{i:05d}-of-00999.safetensors" for i in range(1, 1000)}, None, "at most 256 of one set"),
        ({}, None, "names 0 files"),
        (["a"], None, "weight_map must"),
        ({"a": 1}, None, "must be text"),
        (None, "[1]", "is not a JSON object"),
        (None, '{"weight_map":' + "[" * 200_000, "cannot be read as JSON"),
        (None, '{"weight_map":' + '{"a":' * 50 + "1" + "}" * 51, "nests more than 32 levels"),
        (None, "{" + " " * (1 << 24) + "}", r"states 16,777,218 bytes, but such a file has at most 16,777,216"),
    ],
    ids=["many", "none", "a list", "a number", "another", "cut", "deep", "large"],
)
def test_an_index_that_no_hub_has(serve, tmp_path, places, text, message):
    write_with_index(tmp_path / "hub", places, text)
    refuse(serve(tmp_path / "hub"), tmp_path, message)


# ---- redirects

LOCATIONS = [
    "file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:1/x", "http://localhost/x",
    "https://127.0.0.1/x", "http://[::1]/x", "//10.0.0.1/x", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "http://[bad/",
    "https://huggingface.co.example.org/x", "https://evilhf.co/x", "http://huggingface.co/x", "https://hf.co:8443/x",
    "https://user@huggingface.co/x", "https://huggingface.co@10.0.0.1/x", "http://127.0.0.1:99999999/", "", "data:,x",
]  # fmt: skip


@pytest.mark.parametrize("location", LOCATIONS)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_redirects_elsewhere_are_refused(mirror, tmp_path, method, location):
    mirror.status[method, "model.safetensors"] = 302
    mirror.headers[method, "model.safetensors"] = {"Location": location}
    refuse(mirror, tmp_path, "model.safetensors cannot be downloaded: the server redirects to ")


def test_a_redirect_that_states_a_size_is_refused_before_the_file_is_asked_for(mirror, tmp_path):
    mirror.status["HEAD", "model.safetensors"] = 302
    mirror.headers["HEAD", "model.safetensors"] = {
        "Location": "http://169.254.169.254/", "X-Linked-Size": "9", "X-Linked-ETag": "0" * 64,
    }  # fmt: skip
    refuse(mirror, tmp_path, "redirects to 'http://169.254.169.254/', which is neither itself nor huggingface.co")
    assert ("GET", f"/{ESM2}/resolve/{COMMIT}/model.safetensors") not in [entry[:2] for entry in mirror.asked]


def test_another_server_on_this_machine_is_not_asked(serve, tmp_path):
    mirror, other = serve(), serve()
    for method in ("HEAD", "GET"):
        mirror.status[method, "model.safetensors"] = 307
        mirror.headers[method, "model.safetensors"] = {"Location": f"{other.url}/x"}
    refuse(mirror, tmp_path, "the server redirects to")
    assert other.asked == []


def test_a_server_may_redirect_to_itself(mirror):
    path = f"/moved/{ESM2}/resolve/{COMMIT}/model.safetensors"
    answer = Handler.answer

    def redirect_once(handler: Handler, method: str) -> None:
        if handler.path == path.removeprefix("/moved"):
            mirror.asked.append((method, handler.path, {}))
            handler.send_response(308)
            handler.send_header("Location", path)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            answer(handler, method)

    mirror.RequestHandlerClass = type("Redirecting", (Handler,), {"answer": redirect_once})
    succeed(mirror)
    assert [entry[:2] for entry in mirror.asked if "/moved/" in entry[1]] == [("HEAD", path), ("GET", path)]


def test_redirects_without_end(mirror, tmp_path):
    for method in ("HEAD", "GET"):
        mirror.status[method, "model.safetensors"] = 302
        mirror.headers[method, "model.safetensors"] = {"Location": "?again"}
        mirror.headers[method, "model.safetensors?again"] = {"Location": "?again"}
        mirror.status[method, "model.safetensors?again"] = 302
    (mirror.root / ESM2 / "model.safetensors?again").touch()
    try:
        refuse(mirror, tmp_path, "redirects more than 5 times")
    finally:
        (mirror.root / ESM2 / "model.safetensors?again").unlink()


HUB = "https://huggingface.co/a/b/resolve/main/c"


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        (HUB, "https://cdn-lfs-us-1.hf.co/x?sign=1", "https://cdn-lfs-us-1.hf.co/x?sign=1"),
        (HUB, "https://cas-bridge.xethub.hf.co/x", "https://cas-bridge.xethub.hf.co/x"),
        (HUB, "https://cdn-lfs.huggingface.co/x", "https://cdn-lfs.huggingface.co/x"),
        (HUB, "/A/b/resolve/main/c", "https://huggingface.co/A/b/resolve/main/c"),
        ("http://mirror.example/a", "https://cdn-lfs.hf.co/x", "https://cdn-lfs.hf.co/x"),
        ("http://mirror.example/a", "https://mirror.example/a", "https://mirror.example/a"),
        ("http://127.0.0.1:8000/a", "http://127.0.0.1:8000/b", "http://127.0.0.1:8000/b"),
        (HUB, "http://cdn-lfs.hf.co/x", None),
        (HUB, "http://huggingface.co/a", None),
        (HUB, "https://s3.example.org/x", None),
        ("https://mirror.example/a", "http://mirror.example/a", None),
        ("http://mirror.example:8000/a", "https://mirror.example/a", None),
        ("http://mirror.example/a", "http://169.254.169.254/", None),
    ],
)
def test_redirects_that_a_hub_needs(url, location, target):
    if target is None:
        with pytest.raises(ModelError, match="the server redirects to"):
            transport.redirected(url, location)
    else:
        assert transport.redirected(url, location) == target


# ---- sizes

SIZES = [("HEAD", None), ("HEAD", "-1"), ("HEAD", "x"), ("HEAD", "9" * 30), ("HEAD", "1e3"), ("HEAD", "")]


@pytest.mark.parametrize(("method", "size"), SIZES)
@pytest.mark.parametrize("header", ["Content-Length", "X-Linked-Size"])
def test_a_size_that_is_none(mirror, tmp_path, method, size, header):
    mirror.headers[method, "model.safetensors"] = {"Content-Length": None, header: size}
    refuse(mirror, tmp_path, "model.safetensors cannot be downloaded: ")
    part = [path for path in tree(tmp_path) if path.endswith(".part")]
    assert part == []


@pytest.mark.parametrize(("file", "size"), [("config.json", 10**7), ("model.safetensors", 10**12), (INDEX, 10**8)])
def test_a_size_that_no_such_file_has(mirror, tmp_path, file, size, monkeypatch):
    if file == INDEX:
        write_with_index(tmp_path / "hub", {"a": FIRST})
        mirror.root = tmp_path / "hub"
    mirror.headers["HEAD", file] = {"X-Linked-Size": str(size)}
    refuse(
        mirror, tmp_path, f"{file} cannot be downloaded: the server states {size:,} bytes, but such a file has at most"
    )


def test_shards_that_are_too_large_together(serve, tmp_path):
    names = [f"model-{i:05d}-of-00004.safetensors" for i in range(1, 5)]
    write_with_index(tmp_path / "hub", {name: name for name in names})
    mirror = serve(tmp_path / "hub")
    for name in names:
        path = mirror.root / ESM2 / name
        with path.open("wb") as file:
            file.truncate(45_000_000)  # 8M weights in double precision, and 64 MiB, are 126 MB
    refuse(
        mirror, tmp_path, r"model-00003-of-00004\.safetensors cannot be downloaded: the server states 45,000,000 bytes"
    )


def without_end(handler: Handler, rest: bytes) -> None:
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        handler.close_connection = True


def in_chunks_without_end(handler: Handler, rest: bytes) -> None:
    try:
        while True:
            handler.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    except OSError:
        handler.close_connection = True


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": None}, without_end),
        ({"Content-Length": None, "Transfer-Encoding": "chunked"}, in_chunks_without_end),
    ],
    ids=["until it closes", "chunked"],
)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_body_without_end(mirror, tmp_path, headers, body, file):
    mirror.headers["GET", file] = {**headers, "Connection": "close"}
    mirror.bodies[file] = body
    size = (mirror.root / ESM2 / file).stat().st_size
    refuse(mirror, tmp_path, f"{file} cannot be downloaded: the server sends more than the {size:,} bytes")
    (part,) = (path for path in tmp_path.rglob("*.part") if file in path.name)
    assert part.stat().st_size <= size
    mirror.headers, mirror.bodies = {}, {}
    with suppress(ModelError):  # what came before it was noticed has the wrong checksum, and is removed
        download.download_model("esm2-8M", mirror=mirror.url)
    succeed(mirror)


def half_and_wait(handler: Handler, rest: bytes) -> None:
    handler.wfile.write(rest[: len(rest) // 2])
    wait(handler)


def wait(handler: Handler, rest: bytes = b"") -> None:
    handler.close_connection = True
    handler.server.released.wait(20)


def drip(handler: Handler, rest: bytes) -> None:
    handler.close_connection = True
    with suppress(OSError):
        for byte in rest:
            handler.wfile.write(bytes([byte]))
            if handler.server.released.wait(0.05):
                return


def byte_by_connection(handler: Handler, rest: bytes) -> None:
    handler.wfile.write(rest[:1])
    handler.close_connection = True


@pytest.mark.parametrize("body", [wait, half_and_wait, drip, byte_by_connection])
def test_a_body_that_stalls(mirror, tmp_path, monkeypatch, hurry, body):
    mirror.bodies["model.safetensors"] = body
    monkeypatch.setattr(transport, "_PAUSE_SECONDS", 0.1)
    with hurry():
        refuse(mirror, tmp_path, "model.safetensors cannot be downloaded: the server has stalled")
    mirror.released.set()
    mirror.bodies = {}
    succeed(mirror)


@pytest.mark.usefixtures("serve")
def test_a_server_that_never_answers(hurry):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        hurry(),
        pytest.raises(ModelError, match=r"config\.json cannot be downloaded: the server has stalled"),
    ):
        download.download_model("esm2-8M", mirror=f"http://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.usefixtures("serve")
def test_a_head_that_drips(hurry):
    """Each byte comes in time, the whole never."""
    with socket.create_server(("127.0.0.1", 0)) as slow:
        done = threading.Event()

        def send() -> None:
            connection, _ = slow.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not done.wait(0.1):
                    connection.sendall(b"x")

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        try:
            with hurry(), pytest.raises(ModelError, match="the server has stalled: no answer within 1 s"):
                download.download_model("esm2-8M", mirror=f"http://127.0.0.1:{slow.getsockname()[1]}")
        finally:
            done.set()
            thread.join()


GETS = {
    "another size than stated": ({"Content-Length": "7"}, None, "the server sends '7' bytes"),
    "compressed": ({"Content-Encoding": "gzip"}, None, "the server encodes it as 'gzip'"),
    "another part": ({"Content-Range": "bytes 5-9/10"}, 206, "the server sends 'bytes 5-9/10', not from 0"),
    "an error": ({}, 500, "the server answers 500"),
    "too many requests": ({"Retry-After": "99999999"}, 429, "the server answers 429"),
    "no content": ({}, 204, "the server answers 204"),
}


@pytest.mark.parametrize(("headers", "status", "message"), GETS.values(), ids=GETS)
def test_answers_that_do_not_fit(mirror, tmp_path, headers, status, message):
    mirror.headers["GET", "model.safetensors"] = {**headers, "Connection": "close"}
    mirror.status["GET", "model.safetensors"] = status or 200
    refuse(mirror, tmp_path, f"model.safetensors cannot be downloaded: {message}")


def test_a_server_that_does_no_parts_begins_anew(mirror, tmp_path):
    def cut(handler: Handler, rest: bytes) -> None:
        mirror.bodies = {"model.safetensors": whole}
        mirror.status["GET", "model.safetensors"] = 200
        mirror.headers["GET", "model.safetensors"] = {"Content-Range": None, "Content-Length": str(len(rest))}
        handler.wfile.write(rest[: len(rest) // 2])
        handler.close_connection = True

    def whole(handler: Handler, rest: bytes) -> None:
        handler.wfile.write((mirror.root / ESM2 / "model.safetensors").read_bytes())

    mirror.bodies["model.safetensors"] = cut
    succeed(mirror)


# ---- what is sent


def test_no_token_reaches_a_mirror(mirror, tmp_path, monkeypatch):
    from huggingface_hub import constants

    secret = "hf_" + "s3cret" * 6
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN"):
        monkeypatch.setenv(name, secret)
    (tmp_path / "token").write_text(secret)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    (tmp_path / "home" / ".netrc").write_text(
        f"machine 127.0.0.1 login me password {secret}\ndefault login me password x\n"
    )
    (tmp_path / "home" / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    succeed(mirror)
    for _, _, headers in mirror.asked:
        assert headers.keys().isdisjoint({"authorization", "cookie", "proxy-authorization"})
        assert secret not in str(headers)


def test_a_password_of_the_mirror_is_sent_to_it_and_not_shown(mirror, tmp_path):
    mirror.headers["HEAD", "config.json"] = {"X-Repo-Commit": "x"}
    with pytest.raises(ModelError, match=f"^http://127.0.0.1:{mirror.server_port}/{ESM2}") as error:
        download.download_model("esm2-8M", mirror=mirror.url.replace("//", "//me:s3cret@"))
    assert "s3cret" not in str(error.value)
    assert mirror.asked[0][2]["authorization"].startswith("Basic ")


# ---- what lies where files are written


def broken_off(mirror: Mirror) -> Path:
    """Break off in the weights; return their part file."""

    def cut(handler: Handler, rest: bytes) -> None:
        mirror.status["GET", "model.safetensors"] = 500
        mirror.bodies.clear()  # the next answer is an ordinary error
        handler.wfile.write(rest[:5000])
        handler.close_connection = True

    mirror.bodies["model.safetensors"] = cut
    with pytest.raises(ModelError, match="the server answers 500"):
        download.download_model("esm2-8M", mirror=mirror.url)
    mirror.status.clear()
    (part,) = Path(os.environ["VIRNUCPRO_MODELS"]).rglob(".model.safetensors.*.part")
    assert part.stat().st_size == 5000
    return part


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def of_another_user(path: Path, victim: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make files of other users")
    path.write_bytes(b"x")
    os.chown(path, 12345, -1)


PLANTED = {
    "a link": (link, "is a link"),
    "a link to nothing": (lambda path, victim: path.symlink_to("nothing"), "is a link"),
    "a hard link": (lambda path, victim: os.link(victim, path), r"a file with a second name \(a hard link\)"),
    "a pipe": (lambda path, victim: os.mkfifo(path), "is a pipe"),
    "a directory": (lambda path, victim: path.mkdir(), "is a directory"),
    "a file of another user": (of_another_user, "a file of the user with number 12345"),
}


@pytest.mark.parametrize("whole", [False, True], ids=["part file", "whole file"])
@pytest.mark.parametrize(("plant", "message"), PLANTED.values(), ids=PLANTED)
def test_files_that_were_planted(mirror, tmp_path, whole, plant, message):
    part = broken_off(mirror)
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    path = part.with_name("model.safetensors") if whole else part
    part.unlink()
    plant(path, victim)
    with pytest.raises(OutputError, match=f"{path.name} is {message.removeprefix('is ')}.*remove it and run"):
        download.download_model("esm2-8M", mirror=mirror.url)
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "models" / "esm2-8M").exists()
    path.rmdir() if path.is_dir() else path.unlink()
    succeed(mirror)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_folders_that_were_planted(mirror, tmp_path, level):
    """A link in the place of the download folder, of the repository's or of the commit's."""
    folder = broken_off(mirror).parents[2 - level]
    assert [entry.stat().st_mode & 0o777 for entry in (folder, *folder.rglob("*")) if entry.is_dir()] == [0o700] * (
        3 - level
    )
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}
    folder.symlink_to(elsewhere)
    with pytest.raises(OutputError, match=f"{folder.name} is a link or a file; remove it"):
        download.download_model("esm2-8M", mirror=mirror.url)
    assert {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")} == before
    if not os.geteuid():
        folder.unlink()
        folder.mkdir()
        os.chown(folder, 12345, -1)
        with pytest.raises(OutputError, match="belongs to the user with number 12345"):
            download.download_model("esm2-8M", mirror=mirror.url)
        assert list(folder.iterdir()) == []


def test_an_output_that_is_a_link(mirror, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(OutputError, match="is a link to elsewhere; name that directory itself"):
        download.download_model("esm2-8M", tmp_path / "link", mirror=mirror.url)
    assert mirror.asked == []
    made = download.download_model("esm2-8M", tmp_path / "elsewhere", mirror=mirror.url)
    assert download.download_model("esm2-8M", tmp_path / "link", mirror=mirror.url) == tmp_path / "link"  # it is whole
    assert made == tmp_path / "elsewhere"


def test_links_in_the_cache_and_in_a_mirror_directory(serve, repositories, tmp_path, monkeypatch):
    import huggingface_hub

    cache = tmp_path / "cache" / "models--zhihan1996--DNABERT-S"
    (cache / "refs").mkdir(parents=True)
    (cache / "blobs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    snapshot = cache / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for path in (repositories / "zhihan1996" / "DNABERT-S").iterdir():
        (cache / "blobs" / path.name).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    download.download_model("dnabert-s", tmp_path / "whole", offline=True)
    outside = tmp_path / "outside.json"
    (cache / "blobs" / "config.json").rename(outside)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(outside)
    with pytest.raises(ModelError, match=r"config\.json is a link to .*outside\.json, outside its directory"):
        download.download_model("dnabert-s", tmp_path / "other", offline=True)
    folder = tmp_path / "mirror" / "zhihan1996" / "DNABERT-S"
    folder.mkdir(parents=True)
    for path in (repositories / "zhihan1996" / "DNABERT-S").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(outside)
    with pytest.raises(ModelError, match="outside its directory"):
        download.download_model("dnabert-s", tmp_path / "other", mirror=str(tmp_path / "mirror"))
    assert not (tmp_path / "other").exists()


def test_two_downloads_at_once(mirror, tmp_path):
    started, release = threading.Event(), threading.Event()

    def hold(handler: Handler, rest: bytes) -> None:
        started.set()
        release.wait(20)
        handler.wfile.write(rest)

    mirror.bodies["config.json"] = hold
    first = threading.Thread(target=download.download_model, args=("esm2-8M",), kwargs={"mirror": mirror.url})
    try:
        first.start()
        assert started.wait(20)
        with pytest.raises(OutputError, match="another program uses"):
            download.download_model("esm2-8M", mirror=mirror.url)
    finally:
        release.set()
        first.join()
    assert load_encoder("esm2-8M")[0] == "protein"


# ---- names in the folder of models, and in descriptions


def test_odd_names_in_the_folder_of_models(mirror, tmp_path, capsys):
    directory = succeed(mirror)
    models = directory.parent
    description = json.loads((directory / "encoder.json").read_text())
    for name in (".hidden", "-o", "a\nb\x1b[31m", "out of place"):
        (models / name).mkdir()
        (models / name / "encoder.json").write_text(json.dumps(description | {"name": "../../../x"}))
    (models / "out of place" / "encoder.json").unlink()
    (models / "out of place" / "encoder.json").symlink_to(directory / "encoder.json")
    (models / "broken").mkdir()
    (models / "broken" / "model.json").write_text("{")
    (models / "pipe").mkdir()
    os.mkfifo(models / "pipe" / "model.json")
    (models / "loop").symlink_to("loop")
    assert list_models().keys() == {*SHIPPED, "esm2-8M", "-o", "a\nb\x1b[31m", "out of place", "broken"}
    with pytest.raises(SystemExit) as end:
        main(["models", "list"])
    assert not end.value.code
    printed = capsys.readouterr()
    rows = [line.split("\t") for line in printed.out.splitlines()]
    assert {len(row) for row in rows} == {5}
    assert ["a\\nb\\x1b[31m", "../../../x", "NA", "NA", f"{models}/a\\nb\\x1b[31m"] in rows
    assert ["broken", "NA", "NA", "NA", f"{models}/broken"] in rows
    assert "is a link to" in printed.err
    assert "cannot be read as JSON" in printed.err
    other = download.download_model(
        "esm2-35M", mirror=str(mirror_of_35m(mirror, tmp_path))
    )  # none of them is in the way
    assert other == models / "esm2-35M"


def mirror_of_35m(mirror: Mirror, tmp_path: Path) -> Path:
    folder = tmp_path / "again" / "facebook" / "esm2_t12_35M_UR50D"
    folder.mkdir(parents=True)
    for path in (mirror.root / ESM2).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path / "again"


DESCRIBED = {
    "a part with a path": {"part": "../protein"},
    "a tokenizer with a path": {"tokenizer": "../../bpe"},
    "an architecture with a path": {"architecture": "../esm2"},
    "a checksum of another file": {"checksums": {"../../.bashrc": "0" * 64}},
    "a checksum of an absolute path": {"checksums": {"/etc/passwd": "0" * 64}},
    "a checksum of a name with a zero byte": {"checksums": {"a\0": "0" * 64}},
    "a checksum of a name with escapes": {"checksums": {"\x1b[31m": "0" * 64}},
}


@pytest.mark.parametrize("change", DESCRIBED.values(), ids=DESCRIBED)
def test_names_in_a_description_are_no_paths(mirror, tmp_path, capsys, change):
    path = succeed(mirror) / "encoder.json"
    description = json.loads(path.read_text())
    for key, value in change.items():
        (description if key in description else description["encoder"])[key] = value
    path.write_text(json.dumps(description))
    for command in (
        ["models", "verify", "esm2-8M"],
        ["embed", __file__, "--model", "esm2-8M", "-o", str(tmp_path / "o")],
    ):
        with pytest.raises(SystemExit) as end:
            main(command)
        assert end.value.code == 1
        assert capsys.readouterr().err.count("\n") == 1


def test_a_name_in_a_description_is_no_path(mirror, tmp_path, capsys):
    path = succeed(mirror) / "encoder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": "../../../\x1b[31m/x"}))
    before = tree(tmp_path)
    (tmp_path / "in.fa").write_text(">a\nMKLV\n")
    with pytest.raises(SystemExit) as end:
        main(["embed", str(tmp_path / "in.fa"), "--model", "esm2-8M", "-o", str(tmp_path / "o")])
    assert not end.value.code
    assert "\x1b" not in capsys.readouterr().err
    assert all(name == "in.fa" or name.split("/")[0] == "o" for name in tree(tmp_path) - before)


def test_a_model_of_another_user_lends_no_weights(mirror, tmp_path):
    if os.geteuid():
        pytest.skip("only root can make files of other users")
    directory = succeed(mirror)
    planted = directory.with_name("planted")
    directory.rename(planted)
    asked = len(mirror.asked)
    download.download_model("esm2-8M", tmp_path / "one", mirror=mirror.url)
    assert len(mirror.asked) == asked  # from the user's own model
    os.chown(planted, 12345, -1)
    download.download_model("esm2-8M", tmp_path / "two", mirror=mirror.url)
    assert len(mirror.asked) > asked


# ---- on the command line


def test_one_line_and_exit_code_1(mirror, tmp_path, capsys):
    mirror.headers["HEAD", "config.json"] = {"X-Repo-Commit": "../../..\x1b[31m"}
    with pytest.raises(SystemExit) as end:
        main(["-q", "models", "download", "esm2-8M", "--mirror", mirror.url])
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith(f"virnucpro: error: {mirror.url}/{ESM2}/resolve/main/config.json cannot be downloaded: ")
    assert message.count("\n") == 1
    assert "\x1b" not in message
