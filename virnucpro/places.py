"""Safe paths: plain files inside their folder, and private folders that other users cannot change.

A folder that is given or downloaded may hold links, pipes or devices under any name, and other users may change what
they can write at any time. A path is checked to be a plain file in its folder before it is read or written.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from virnucpro.errors import ModelError, OutputError

logger = logging.getLogger(__name__)

_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # without O_NONBLOCK, opening a pipe without a writer would block


def plain_file(path: Path) -> Path:
    """Check that a path given by the user is a plain file, or a link to one, and return it.

    Raises:
        ModelError: it does not exist, or is a directory, a pipe or a device, which might never end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"{path} cannot be read: {reason}; check the path, or copy the file again") from error
    if not stat.S_ISREG(mode):
        raise ModelError(f"{path} is not a file but {_kind(mode)}; give the file itself")
    return path


def file_inside(folder: Path, name: str) -> Path:
    """Return the path of a plain file in a folder.

    A link is accepted if it leads to a file below the folder or, in a snapshot of the Hugging Face cache, to a blob of
    that repository.

    Raises:
        ModelError: it is missing, is not a plain file, or is outside the folder.
    """
    path, root = folder / name, folder.resolve()
    roots = [root]
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        roots.append(root.parent.parent / "blobs")
    found = plain_file(path).resolve()
    if not any(found.is_relative_to(place) for place in roots):
        raise ModelError(f"{path} is a link to {found}, outside its directory; put the file itself there")
    return path


def new_directory(output: Path) -> Path:
    """Check that a directory can be created, or exists and is empty; return its absolute path.

    Raises:
        OutputError: it is a link, a file, not empty, or not a valid name.
    """
    path = output.absolute()
    if output.name in ("", ".."):  # such as the working directory, `.`
        path = path.resolve()
    if not path.name or "\0" in str(path):
        raise OutputError(f"{output} cannot be made; choose another --output")
    if path.is_symlink():
        raise OutputError(f"{output} is a link to {os.readlink(path)}; name that directory itself with --output")
    if os.path.exists(path) and not (os.path.isdir(path) and os.access(path, os.R_OK) and not os.listdir(path)):
        raise OutputError(f"{output} is not an empty directory; choose another --output")
    return path


@contextmanager
def private_directory(path: Path) -> Iterator[Path]:
    """Give a locked directory that belongs to the user; the directory of a killed program is reused with its files.

    Raises:
        OutputError: it is a link or a file, belongs to another user, or another program uses it.
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = _own_user(path.parent)
    while True:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        descriptor = _open_directory(path, owner)
        try:
            _lock(descriptor, path)
            if _is_still_at(descriptor, path):
                try:
                    yield path
                finally:
                    with suppress(OSError):  # not empty: it has files to continue with
                        path.rmdir()
                return
        finally:
            os.close(descriptor)


@contextmanager
def whole_directory(output: Path, purpose: str) -> Iterator[Path]:
    """Give an empty directory that is renamed to `output` at the end, or removed after an error.

    It is made in the private directory `.NAME.PURPOSE` beside `output`; leftovers of a killed program are removed.
    """
    with private_directory(output.with_name(f".{output.name}.{purpose}")) as temporary:
        directory = temporary / "model"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        try:
            yield directory
            directory.rename(output)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def private_subdirectory(path: Path) -> Path:
    """Return a directory inside a private one; create it if it does not exist.

    Raises:
        OutputError: it is a link or a file, or belongs to another user.
        OSError: it cannot be created.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    os.close(_open_directory(path, os.lstat(path.parent).st_uid))
    return path


def has_own_file(path: Path) -> bool:
    """Return whether a file in a private directory exists.

    Raises:
        OutputError: the path is a link, a hard link, a pipe or a file of another user.
    """
    try:
        _require_own_file(os.lstat(path), path)
    except FileNotFoundError:
        return False
    return True


def open_own_file(path: Path) -> BinaryIO:
    """Open a file in a private directory for appending; create it if it does not exist.

    Raises:
        OutputError: the path is a link, a hard link, a pipe or a file of another user.
        OSError: it cannot be created.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
    except FileExistsError:
        _require_own_file(os.lstat(path), path)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | _OPEN)
    try:
        _require_own_file(os.fstat(descriptor), path)
    except OutputError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "ab")


def belongs_to_user(directory: Path) -> bool:
    """Return whether a directory belongs to this user or root; another user's directory is not trusted."""
    return os.stat(directory).st_uid in (os.geteuid(), 0)


def shown_name(text: str) -> str:
    """Return a name from a file or a server for messages: quoted and shortened."""
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}")


def is_commit(text: str) -> bool:
    """Return whether a text is a full git commit: 40 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{40}", text) is not None


def _require_own_file(status: os.stat_result, path: Path) -> None:
    owner = os.lstat(path.parent).st_uid
    wrong = (
        _kind(status.st_mode) if not stat.S_ISREG(status.st_mode)
        else "a file with a second name (a hard link)" if status.st_nlink != 1
        else f"a file of the user with number {status.st_uid}" if status.st_uid != owner
        else ""
    )  # fmt: skip
    if wrong:
        raise OutputError(f"{path} is {wrong}, not a download of ours; remove it and run the same command again")


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"))
    return next((name for holds, name in kinds if holds(mode)), "a device or socket")


def _own_user(folder: Path) -> int:
    """Return the number of the owner of new files in a folder; network file systems may map it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_uid


def _open_directory(path: Path, owner: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise OutputError(f"{path} is a link or a file; remove it and run the same command again") from error
    found = os.fstat(descriptor)
    if found.st_uid != owner:
        os.close(descriptor)
        raise OutputError(
            f"{path} belongs to the user with number {found.st_uid}, who could change what is written there; "
            "choose an --output in a directory of your own"
        )
    with suppress(OSError):  # some file systems have no permissions
        os.fchmod(descriptor, 0o700)
    return descriptor


def _is_still_at(descriptor: int, path: Path) -> bool:
    """Return whether an open directory is still the one at `path`; its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(f"another program uses {path}; wait for it or choose another --output") from error
    except OSError as error:  # some network file systems have no locks
        logger.warning("%s cannot be locked (%s): run only one program there at a time", path, error.strerror)
