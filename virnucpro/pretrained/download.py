"""Download the published models and make model directories of them.

A download is first named `.NAME.DIGEST.part`, which a later attempt continues; it gets its name after its checksum is
verified. All files of a repository come from one commit.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from virnucpro.environment import models_directory
from virnucpro.errors import ModelError, OutputError
from virnucpro.places import (
    belongs_to_user,
    file_inside,
    has_own_file,
    is_commit,
    new_directory,
    open_own_file,
    private_directory,
    private_subdirectory,
    shown_name,
)
from virnucpro.pretrained.catalogue import (
    CATALOGUE,
    CLASSIFIER_REPOSITORY,
    CLASSIFIER_URL,
    CatalogueEntry,
    Repository,
    classifier_id,
)
from virnucpro.pretrained.description import TOKENIZER
from virnucpro.pretrained.import_published import import_encoder, import_model
from virnucpro.pretrained.locations import check_file, description_file, list_models, read_description
from virnucpro.pretrained.repository import CONFIG, MAX_BYTES, WEIGHT_FILES, known_files, max_bytes, read_shards
from virnucpro.pretrained.transport import ask, failure, fetch, without_password
from virnucpro.pretrained.weights import git_blob_id, sha256
from virnucpro.words import in_bytes

logger = logging.getLogger(__name__)


def download_model(
    name: str,
    output: Path | None = None,
    mirror: str | None = None,
    offline: bool = False,
    classifier: Path | None = None,
) -> Path:
    """Download a published model and return its directory. A complete directory is left as it is.

    Args:
        name: a name of the catalogue.
        output: the directory; default: `name` in the directory of models.
        mirror: URL of a server with the API of the Hugging Face hub, or a directory with OWNER/NAME/FILE.
        offline: use no network, only the Hugging Face cache, or the mirror if it is a directory.
        classifier: the file of the published classifier, instead of a download.

    Raises:
        ModelError: there is no such model, a file cannot be downloaded, or it has another checksum.
        OutputError: the directory cannot be written.
    """
    from huggingface_hub import constants

    if name not in CATALOGUE:
        raise ModelError(f"there is no model {name!r} to download; choose one of {', '.join(CATALOGUE)}")
    entry, output = CATALOGUE[name], output or models_directory() / name
    if description_file(output):
        _require_whole(output, name)
        _remove_left_over(output)
        return output
    output = new_directory(output)
    try:
        with private_directory(_workplace(output)) as directory:
            source = Origin(directory, mirror, offline or constants.HF_HUB_OFFLINE)
            _make(name, entry, output, source, classifier)
            shutil.rmtree(directory, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error}; make room there or choose another --output") from error
    return output


def _workplace(output: Path) -> Path:
    return output.with_name(f".{output.name}.download")


def _remove_left_over(output: Path) -> None:
    """Remove downloaded files of a complete model, which a killed command may have left."""
    place = _workplace(output.absolute())
    if place.is_dir():
        with suppress(OSError, OutputError), private_directory(place):  # it may be another user's model
            shutil.rmtree(place)


def _require_whole(output: Path, name: str) -> None:
    description = read_description(output)
    try:
        for file in description.files():
            check_file(output, file, description)
    except ModelError as error:
        raise ModelError(f"{error}, or remove {output} and run `virnucpro models download {name}`") from error


def _make(name: str, entry: CatalogueEntry, output: Path, origin: Origin, classifier: Path | None) -> None:
    folders: dict[str, Path] = {repository.part: origin.find(repository) for repository in entry.repositories}
    records: dict[str, Any] = {repository.part: origin.describe(repository) for repository in entry.repositories}
    if entry.chunk_length is None:
        (repository,) = entry.repositories
        import_encoder(name, repository.part, folders[repository.part], output, records[repository.part])
        return
    path, expected = classifier or origin.find_classifier(entry.chunk_length), classifier_id(entry.chunk_length)
    if (found := git_blob_id(path)) != expected:
        raise ModelError(f"{path} is not the published classifier: its git object id is {found}, expected {expected}")
    records["classifier"] = {"file": path.name, "repository": CLASSIFIER_REPOSITORY, "git_blob": found}
    import_model(path, entry.chunk_length, output, folders["nucleotide"], folders["protein"], records)


class Origin:
    """The source of files: a server, a directory or the Hugging Face cache; downloads go to `directory`."""

    def __init__(self, directory: Path, mirror: str | None, offline: bool) -> None:
        self.directory = directory
        self.offline = offline
        self.endpoint = mirror.rstrip("/") if mirror and re.match("https?://", mirror) else None
        self.mirror = Path(mirror) if mirror and not self.endpoint else None
        if self.mirror and not os.path.isdir(self.mirror):
            raise ModelError(f"--mirror {mirror} is neither a directory nor a URL that begins with http:// or https://")
        self._records: dict[str, dict[str, Any]] = {}

    def describe(self, repository: Repository) -> dict[str, Any]:
        """Return the origin of a repository's files: its revision, and size and SHA-256 of each file."""
        return self._records[repository.name]

    def find(self, repository: Repository) -> Path:
        """Return a directory with the files that a model needs from a repository."""
        if model := self._installed_before(repository):
            return model
        record = {"repository": repository.name, "licence": repository.licence}
        if self.mirror or self.offline:
            folder = self.mirror / repository.name if self.mirror else _cached(repository)
            if not folder.is_dir():
                raise ModelError(f"{folder} does not exist; a mirror holds OWNER/NAME/FILE, as on the Hugging Face hub")
            files = [file_inside(folder, path.name) for path in known_files(folder)]
        else:
            folder, record["revision"], files = self._download(repository)
        described = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files}
        self._records[repository.name] = {**record, "files": described}
        return folder

    def _installed_before(self, repository: Repository) -> Path | None:
        """Return the directory of another downloaded model with this language model, None if there is none."""
        for directory in list_models().values():
            if not belongs_to_user(directory):  # another user's description is not trusted
                continue
            try:
                description = read_description(directory)
            except ModelError as error:
                logger.warning("%s", error)
                continue
            imported = description.training.get("imported", {})
            record = imported.get(repository.part) if isinstance(imported, dict) else None
            if isinstance(record, dict) and record.get("repository") == repository.name:
                self._records[repository.name] = record
                logger.warning("%s is copied from %s, not downloaded", repository.name, directory)
                return directory
        return None

    def find_classifier(self, chunk_length: int) -> Path:
        """Return the path of a published classifier."""
        file = f"{chunk_length}_model.pth"
        if self.mirror:
            for path in (self.mirror / CLASSIFIER_REPOSITORY / file, self.mirror / file):
                if path.is_file():
                    return path
        if self.mirror or self.offline:
            raise ModelError(f"{file} is not in {self.mirror or 'the cache'}; give it with --classifier {file}")
        url = CLASSIFIER_URL.format(file)
        if self.endpoint:
            url = _hub_url(CLASSIFIER_REPOSITORY, file, "main", self.endpoint)
        path = self.directory / file
        if not _fetch(url, path, MAX_BYTES["classifier"], classifier_id(chunk_length)):
            raise ModelError(f"{without_password(url)} does not exist; give the file with --classifier {file}")
        return path

    def _download(self, repository: Repository) -> tuple[Path, str, list[Path]]:
        """Download the needed files of a repository; return the folder, the commit and the files."""
        commit = self._commit(repository)
        folder = private_subdirectory(self.directory / repository.name.replace("/", "--"))
        folder = private_subdirectory(folder / commit)
        room = max_bytes("", repository.weights)  # bytes, for all weight files together

        def fetch(file: str) -> Path | None:
            path = folder / file
            limit = min(room, max_bytes(file, repository.weights))
            return path if _fetch(_hub_url(repository.name, file, commit, self.endpoint), path, limit) else None

        def need(file: str) -> Path:
            if path := fetch(file):
                return path
            raise ModelError(f"{repository.name} has no {file} at revision {commit}; try another --mirror")

        files = [need(file) for file in (CONFIG, *([TOKENIZER] if repository.part == "nucleotide" else []))]
        weights = next((path for path in map(fetch, WEIGHT_FILES) if path), None) or need(WEIGHT_FILES[0])
        files.append(weights)
        if weights.suffix == ".json":
            for shard in read_shards(weights):
                files.append(need(shard))
                room -= files[-1].stat().st_size
        return folder, commit, files

    def _commit(self, repository: Repository) -> str:
        """Ask the server for the commit of the revision, so that all files come from one commit."""
        url = _hub_url(repository.name, CONFIG, repository.revision, self.endpoint)
        stated = ask(url, MAX_BYTES[CONFIG])
        if stated is None:
            raise failure(url, "the server does not have it")
        if stated.commit is None:
            logger.warning("%s names no commit, so its files may come from different ones", without_password(url))
            return repository.revision
        if not is_commit(stated.commit):
            commit = shown_name(stated.commit)
            raise failure(url, f"the server's commit (X-Repo-Commit) is {commit}, not 40 hexadecimal digits")
        return stated.commit


def _cached(repository: Repository) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository.name, revision=repository.revision, local_files_only=True))
    except Exception as error:
        raise ModelError(
            f"{repository.name} is not in the Hugging Face cache, and --offline allows no download; "
            "download the model on a machine with a network and copy its directory, or give a directory with --mirror"
        ) from error


def _hub_url(repository: str, file: str, revision: str, endpoint: str | None) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, file, revision=revision, endpoint=endpoint)


def _fetch(url: str, path: Path, limit: int, expected: str = "") -> bool:
    """Download a file unless it exists; return whether the server has it.

    `limit` is its maximum size in bytes. `expected` is a git object id (40 hexadecimal digits) or a SHA-256 (64);
    without it the server's checksum is used.

    Raises:
        ModelError: it cannot be downloaded, or has another checksum.
        OutputError: something that is not a file of ours is in its place.
    """
    if has_own_file(path):
        return True
    stated = ask(url, limit)
    if stated is None:
        return False
    digest = expected or stated.checksum
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", digest):
        raise ModelError(
            f"{without_password(url)}: the server gives no checksum (its ETag is {shown_name(digest)}); "
            "choose another --mirror"
        )
    part = path.with_name(f".{path.name}.{digest[:16]}.part")
    with open_own_file(part) as file, _shown(path.name, stated.size) as progress:
        if file.tell() > stated.size:
            file.seek(0)
            file.truncate()
        progress(file.tell())
        fetch(url, file, stated.size, progress)
    found = git_blob_id(part) if len(digest) == 40 else sha256(part)
    if found != digest:
        part.unlink()
        raise ModelError(
            f"{without_password(url)} was downloaded with the checksum {found}, expected {digest}; "
            "it was removed: run the same command again, or choose another --mirror"
        )
    os.replace(part, path)
    logger.info("%s: %s, %s", path.name, in_bytes(stated.size), digest)
    return True


@contextmanager
def _shown(name: str, size: int) -> Iterator[Callable[[int], object]]:
    """Show the progress of a file on a terminal; give a function that counts bytes."""
    from huggingface_hub.utils import tqdm

    with tqdm(total=size, unit="B", unit_scale=True, desc=name, disable=None) as bar:  # type: ignore[no-untyped-call]
        yield bar.update
