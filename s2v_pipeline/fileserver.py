"""A read-only HTTP server for what lies in the artifact store, on loopback.

Belongs here: GET and HEAD of `/files/<asset>/<input>/<part>` with byte ranges (seeking in a video), and parts' URLs;
pages that somebody else makes, such as metrics.
Does not belong here: which names and files a request may reach (served_files), any write, any address but loopback.

Only requests that name this server in their Host header are answered; a web page that points its own name at
127.0.0.1 (DNS rebinding) is not. No cross-origin header is sent, so other sites cannot read what they fetch.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, BinaryIO, Self

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.served_files import (
    DEPTH_OF_FILE,
    LISTING_HEADERS,
    URL_PREFIX,
    Pages,
    content_type,
    listing_page,
    open_file,
    requested_names,
)

HOST = "127.0.0.1"

_IDLE_TIMEOUT_S = 30.0  # a silent connection holds a thread no longer than this
_STOP_POLL_S = 0.1  # how soon `stop` is seen
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")  # one range; several may be ignored (RFC 9110, 14.2)

_log = logging.getLogger(__name__)


def artifact_url(port: int, asset: str, input_id: str, part: str) -> str:
    """URL under which a file server on `port` gives a part.

    Raises:
        ArtifactError: a name that the artifact store refuses.
    """
    names = ArtifactStore(Path()).path(asset, input_id, part)
    return f"http://{HOST}:{port}{URL_PREFIX}{names.as_posix()}"


class FileServer:
    """Serves the files below a folder from a thread of its own; use it as a context manager or with start and stop.

    Args:
        root: the artifact store's root; made when it is not there.
        port: TCP port on 127.0.0.1; 0 takes a free one, which `port` names once started.
        pages: path -> what makes a page for it, called for each request in a thread of its own.
    """

    def __init__(self, root: Path, port: int, pages: Pages | None = None) -> None:
        self._root = root
        self._pages = pages or {}
        self._port = port
        self._running: tuple[_Server, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; before the start the one that was asked for."""
        return self._running[0].server_port if self._running else self._port

    def start(self) -> None:
        """Listen, and serve in the background.

        Raises:
            SettingsError: the port cannot be had.
            RuntimeError: it is started already.
        """
        if self._running:
            raise RuntimeError("the file server is started already")
        self._root.mkdir(parents=True, exist_ok=True)
        try:
            server = _Server(self._root.resolve(), self._port, self._pages)
        except OSError as error:
            raise SettingsError(
                "setting server.file_port must name a port on which this user may listen",
                got=f"{self._port} ({error.strerror})",
                cure="End what uses it (another `s2v up`?), or set S2V_SERVER__FILE_PORT to a free port.",
            ) from error
        thread = threading.Thread(target=server.serve_forever, args=(_STOP_POLL_S,), name="file-server", daemon=True)
        thread.start()
        self._running = (server, thread)

    def stop(self) -> None:
        """Stop listening and let the port go; does nothing where nothing runs."""
        if not self._running:
            return
        server, thread = self._running
        server.shutdown()
        thread.join()
        server.server_close()
        self._running = None

    def url_for(self, asset: str, input_id: str, part: str) -> str:
        """URL of a part.

        Raises:
            ArtifactError: a name that the artifact store refuses.
        """
        return artifact_url(self.port, asset, input_id, part)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _RefusedError(Exception):
    """A request that gets an error status instead of content."""

    def __init__(self, status: HTTPStatus, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that keeps a video open must not hold up the end of `s2v up`

    def __init__(self, root: Path, port: int, pages: Pages) -> None:
        self.root = root
        self.pages = pages
        super().__init__((HOST, port), _Handler)
        self.own_names = frozenset({f"{HOST}:{self.server_port}", f"localhost:{self.server_port}"})

    def server_bind(self) -> None:
        # HTTPServer.server_bind would ask DNS for this machine's name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name = HOST
        self.server_port = self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the base class's arguments)
        _log.exception("a request from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _refuse_method(self) -> None:
        self.close_connection = True  # a body that nobody reads would be taken for the next request
        self._send_refusal(_RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"}))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815

    def _answer(self) -> None:
        try:
            self._check_headers()
            self._serve()
        except _RefusedError as refused:
            self._send_refusal(refused)
        except (BrokenPipeError, ConnectionResetError, TimeoutError) as error:
            # Players drop a connection whenever one seeks.
            self.close_connection = True
            _log.debug("client left: %s", error)

    def _check_headers(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise _RefusedError(HTTPStatus.BAD_REQUEST)
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1:
            raise _RefusedError(HTTPStatus.BAD_REQUEST)
        if hosts[0].strip().lower() not in self.server.own_names:
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST)

    def _serve(self) -> None:
        if make_page := self.server.pages.get(self.path.partition("?")[0]):
            self._send_page(make_page)
            return
        names = requested_names(self.path)
        if names is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND)
        if len(names) == DEPTH_OF_FILE:
            file = open_file(self.server.root, names)
            if file is None:
                raise _RefusedError(HTTPStatus.NOT_FOUND)
            with file:
                self._send_file(file, names[-1])
        else:
            page = listing_page(self.server.root, names)
            if page is None:
                raise _RefusedError(HTTPStatus.NOT_FOUND)
            self._send_text(page, LISTING_HEADERS)

    def _send_file(self, file: BinaryIO, name: str) -> None:
        status = os.fstat(file.fileno())
        size = status.st_size
        tag = f'"{status.st_mtime_ns:x}-{size:x}"'
        about = {"ETag": tag, "Cache-Control": "no-cache", "Accept-Ranges": "bytes"}
        if tag in re.split(r"\s*,\s*", self.headers.get("If-None-Match", "")):
            self._send_head(HTTPStatus.NOT_MODIFIED, about)
            return
        asked = self._requested_range(size, tag)
        start, stop = asked or (0, size)
        about["Content-Type"] = content_type(name)
        about["Content-Length"] = str(stop - start)
        if asked:
            about["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._send_head(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, about)
        if self.command == "GET" and stop > start:
            self.connection.sendfile(file, start, stop - start)

    def _requested_range(self, size: int, tag: str) -> tuple[int, int] | None:
        """Half-open span of bytes that the Range header asks for; None for the whole file.

        RFC 9110, 14.1.2: `a-b` includes b, `a-` runs to the end, `-n` is the last n bytes. What is not understood is
        ignored; what lies beyond the end is refused.
        """
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if match is None or self.command != "GET" or self.headers.get("If-Range", tag) != tag:
            return None
        first, last = match.groups()
        if not first and not last:
            return None
        if first and last and int(last) < int(first):
            return None
        if not first:
            start, stop = max(0, size - int(last)), size
        else:
            start, stop = int(first), min(int(last) + 1, size) if last else size
        if start >= stop:
            raise _RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
        return start, stop

    def _send_page(self, make_page: Callable[[], tuple[str, bytes]]) -> None:
        try:
            kind, content = make_page()
        except Exception as error:
            _log.exception("the page %r could not be made", self.path)
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR) from error
        self._send_text(content, {"Content-Type": kind})

    def _send_text(self, content: bytes, about: Mapping[str, str]) -> None:
        length = {"Content-Length": str(len(content)), "Cache-Control": "no-cache"}
        self._send_head(HTTPStatus.OK, {**about, **length})
        if self.command == "GET":
            self.wfile.write(content)

    def _send_refusal(self, refused: _RefusedError) -> None:
        text = f"{refused.status.value} {refused.status.phrase}\n".encode()
        about = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text)), **refused.headers}
        self._send_head(refused.status, about)
        if self.command != "HEAD":
            self.wfile.write(text)

    def _send_head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    # The rest replaces habits of the base class.

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Requests that the base class cannot parse: plain text like every refusal, and nothing of them is echoed."""
        self.close_connection = True
        self._send_refusal(_RefusedError(HTTPStatus(code)))

    def end_headers(self) -> None:
        """Every response forbids guessing another content type."""
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def version_string(self) -> str:
        """Names neither Python nor its version."""
        return "s2v"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        # repr: a request's control characters must not reach a terminal.
        _log.debug("%r", format % args)
