"""Web servers of this process that answer as the Hugging Face hub does, or as no hub should."""

import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer(ThreadingHTTPServer):
    """A server on a free port of this machine for the files OWNER/NAME/FILE below `root`."""

    daemon_threads = True

    def __init__(self, root: Path, handler: type["HubHandler"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.root = root

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that broke the connection off."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HubHandler(BaseHTTPRequestHandler):
    """Answer one request by `answer`, of a subclass."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def answer(self, method: str) -> None:
        raise NotImplementedError

    def do_GET(self) -> None:
        self.answer("GET")

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def first_byte(self) -> int:
        """Return where the range begins that was asked for; 0 if none was."""
        return int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])

    def reply(self, status: int, headers: Mapping[str, object]) -> None:
        """Send the status and the headers that are not None."""
        self.send_response(status)
        for key, value in headers.items():
            if value is not None:
                self.send_header(key, str(value))
        self.end_headers()


Server = TypeVar("Server", bound=HubServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server answer within, from a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
