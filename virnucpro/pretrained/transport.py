"""HTTP for downloads from servers that are not trusted, with limits on redirects, sizes and time.

The user's tokens are never sent. A redirect is followed to the same server, from http to https of the same host, and
over https to the hosts of the Hugging Face hub, where large files are. All others are refused, because they could make
this machine send requests to its own network. A server must state the size of a file first, and then send that size.

The hub's own `get_hf_file_metadata` and `hf_hub_download` are not used: the redirects that they follow differ between
versions, and they limit neither the size nor the duration of a download.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from virnucpro.errors import ModelError, VirnucproError
from virnucpro.places import shown_name

HUB_DOMAINS = ("huggingface.co", "hf.co")
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# Time limits for the head of an answer, and between two pieces of a file.
HEAD_SECONDS = 60.0
PIECE_SECONDS = 30.0
# A transfer has stalled if fewer than these bytes arrive in these seconds.
STALL_SECONDS, STALL_BYTES = 60.0, 60 * 1024
_TRIES, _PAUSE_SECONDS = 5, 1.0  # attempts without a new byte, and the pause between two

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stated:
    """A server's statement about a file: checksum (the ETag), size in bytes, commit."""

    checksum: str
    size: int
    commit: str | None


class _BrokenOffError(Exception):
    """The connection broke off; a new request may succeed."""


def ask(url: str, max_bytes: int) -> Stated | None:
    """Return a server's statement about a file, None if it has no such file.

    Raises:
        ModelError: there is no answer, or it is not acceptable: a redirect to another host, no size, too large a size.
    """
    commit = None
    for _ in range(_MAX_REDIRECTS):
        with _answer("HEAD", url, {}) as (status, headers, _body):
            commit = headers.get("x-repo-commit", commit)
            linked = "x-linked-size" in headers and "x-linked-etag" in headers
            if status in _REDIRECTS and not linked:
                url = redirected(url, headers.get("location", ""))
                continue
            if status in _REDIRECTS:
                redirected(url, headers.get("location", ""))  # refuse it before the file is fetched
            elif status == 404:
                return None
            elif status != 200:
                raise failure(url, f"the server answers {status}")
            size = headers.get("x-linked-size") or headers.get("content-length") or ""
            if not re.fullmatch("[0-9]{1,15}", size):
                raise failure(url, f"the server does not state its size (it is {shown_name(size)})")
            if int(size) > max_bytes:
                raise failure(url, f"the server states {int(size):,} bytes, but such a file has at most {max_bytes:,}")
            etag = headers.get("x-linked-etag") or headers.get("etag") or ""
            return Stated(etag.removeprefix("W/").strip('"'), int(size), commit)
    raise failure(url, f"the server redirects more than {_MAX_REDIRECTS} times")


def fetch(url: str, file: BinaryIO, size: int, progress: Callable[[int], object]) -> None:
    """Append the missing bytes of a download to a file; connect again if the connection breaks off.

    Args:
        url: the address of the file.
        file: open to append; its content is the beginning of the download.
        size: the total size in bytes, as the server states it.
        progress: called with the number of bytes received, negative if the server started over.

    Raises:
        ModelError: the file cannot be downloaded, or the server does not send what it stated.
        OSError: the file cannot be written.
    """
    tries, clock = _TRIES, _Clock()
    while file.tell() < size:
        before = file.tell()
        try:
            _fetch_once(url, file, size, progress, clock)
        except _BrokenOffError as error:
            tries = _TRIES if file.tell() > before else tries - 1
            if not tries:
                raise failure(url, str(error)) from error
            clock.check(url)
            time.sleep(_PAUSE_SECONDS)


def redirected(url: str, location: str) -> str:
    """Return the target of a redirect.

    Raises:
        ModelError: the target is not allowed, see the docstring of this module.
    """
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        same = _origin(new) == _origin(old)
        upgraded = _origin(new) == ("https", old.hostname, 443) and _origin(old) == ("http", old.hostname, 80)
        host = f".{new.hostname or ''}"
        of_hub = _origin(new) == ("https", new.hostname, 443) and host.endswith(
            tuple(f".{name}" for name in HUB_DOMAINS)
        )
    except ValueError:  # not a URL
        same = upgraded = of_hub = False
    if not (location and (same or upgraded or (of_hub and "@" not in new.netloc))):
        raise failure(
            url,
            f"the server redirects to {shown_name(location)}, which is neither itself nor {' or '.join(HUB_DOMAINS)}",
        )
    return target


def without_password(url: str) -> str:
    """Return a URL without its password, for messages."""
    return re.sub(r"^(https?://)[^/?#]*@", r"\1", url)


def failure(url: str, reason: str) -> ModelError:
    """Return the error for a file that cannot be downloaded."""
    return ModelError(
        f"{without_password(url)} cannot be downloaded: {reason}; run the same command again to continue, "
        "or choose a --mirror"
    )


class _Clock:
    """Detects a transfer that has stalled."""

    def __init__(self) -> None:
        self._since, self._bytes = time.monotonic(), 0

    def add(self, number: int) -> None:
        self._bytes += number

    def check(self, url: str) -> None:
        seconds = time.monotonic() - self._since
        if seconds < STALL_SECONDS:
            return
        if self._bytes < STALL_BYTES:
            raise failure(url, f"the server has stalled: it sent {self._bytes:,} bytes in {seconds:.0f} s")
        self._since, self._bytes = time.monotonic(), 0


def _fetch_once(url: str, file: BinaryIO, size: int, progress: Callable[[int], object], clock: _Clock) -> None:
    place = url
    for _ in range(_MAX_REDIRECTS):
        begin = file.tell()
        with _answer("GET", place, {"range": f"bytes={begin}-"} if begin else {}) as (status, headers, body):
            if status in _REDIRECTS:
                place = redirected(place, headers.get("location", ""))
                continue
            if status in (408, 429):
                raise _BrokenOffError(f"the server answers {status}")
            if status not in (200, 206):
                raise failure(url, f"the server answers {status}")
            if status == 206 and not re.match(f"bytes {begin}-", headers.get("content-range", "")):
                raise failure(url, f"the server sends {shown_name(headers.get('content-range', ''))}, not from {begin}")
            if headers.get("content-encoding", "identity") != "identity":
                raise failure(
                    url, f"the server encodes it as {shown_name(headers['content-encoding'])}, which was not requested"
                )
            if status == 200 and begin:  # it does not support partial requests
                file.seek(0)
                file.truncate()
                progress(-begin)
                begin = 0
            length = headers.get("content-length", str(size - begin))
            if length != str(size - begin):
                raise failure(url, f"the server sends {shown_name(length)} bytes, expected {size - begin}")
            _read(url, body, file, size, progress, clock)
            return
    raise failure(url, f"the server redirects more than {_MAX_REDIRECTS} times")


def _read(
    url: str, body: Iterator[bytes], file: BinaryIO, size: int, progress: Callable[[int], object], clock: _Clock
) -> None:
    while (block := _attempt(lambda: next(body, None))) is not None:
        if file.tell() + len(block) > size:
            raise failure(url, f"the server sends more than the {size:,} bytes that it stated")
        file.write(block)
        progress(len(block))
        clock.add(len(block))
        clock.check(url)
    if file.tell() < size:
        raise _BrokenOffError(f"it ended after {file.tell():,} of {size:,} bytes")


@contextmanager
def _answer(method: str, url: str, headers: dict[str, str]) -> Iterator[tuple[int, Mapping[str, str], Iterator[bytes]]]:
    """Give status, headers and body of an answer, without following redirects."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers

    from virnucpro import __version__

    try:
        client = get_session()  # with the user's proxies and certificates
        agent = build_hf_headers(token=False, library_name="virnucpro", library_version=__version__)
        headers = {**agent, "accept-encoding": "identity", **headers}
        request = client.build_request(method, url, headers=headers, timeout=PIECE_SECONDS)
        response = _within(HEAD_SECONDS, lambda: client.send(request, stream=True, follow_redirects=False))
    except VirnucproError:
        raise
    except _BrokenOffError as error:
        if method == "GET":
            raise
        raise failure(url, str(error)) from error
    except Exception as error:  # such as an invalid URL
        raise failure(url, _reason(error)) from error
    try:
        yield response.status_code, response.headers, response.iter_raw()
    finally:
        response.close()


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, or give up waiting for it after some seconds.

    The client's own time limits start again with each byte.
    """
    answers: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((_attempt(call), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise _BrokenOffError(f"the server has stalled: no answer within {seconds:.0f} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _attempt(call: Callable[[], T]) -> T:
    """Return the result of a call of the HTTP client; its errors become errors of the connection."""
    try:
        return call()
    except VirnucproError:  # raised by a signal handler
        raise
    except Exception as error:
        raise _BrokenOffError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if "Timeout" in type(error).__name__:
        return f"the server has stalled: it sent nothing for {PIECE_SECONDS:.0f} s"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)
