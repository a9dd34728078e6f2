"""The file server over real sockets: what it gives, and what it refuses however it is spelt."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from s2v_pipeline.errors import ArtifactError, SettingsError
from s2v_pipeline.fileserver import FileServer, artifact_url

VIDEO = bytes(range(256)) * 40
SECRET = b"the secret outside the root"
PATH = "/files/final_videos/obama/obama.mp4"


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


def make_root(folder: Path) -> Path:
    root = folder / "artifacts"
    parts = root / "final_videos" / "obama"
    parts.mkdir(parents=True)
    (parts / "obama.mp4").write_bytes(VIDEO)
    (parts / "obama.mp4.provenance.json").write_text("{}")
    (parts / "page.html").write_text("<script>alert(1)</script>")
    (parts / "empty.json").write_bytes(b"")
    (parts / ".hidden.mp4").write_bytes(SECRET)
    (root / ".hidden" / "x").mkdir(parents=True)
    (root / ".hidden" / "x" / "y.mp4").write_bytes(SECRET)
    (folder / "secret.txt").write_bytes(SECRET)
    (folder / "outside" / "obama").mkdir(parents=True)
    (folder / "outside" / "obama" / "secret.txt").write_bytes(SECRET)
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileServer]:
    """For tests that only read."""
    with FileServer(make_root(tmp_path_factory.mktemp("shared")), 0) as server:
        yield server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def own_server(root: Path) -> Iterator[FileServer]:
    """For tests that change files under its root."""
    with FileServer(root, 0) as server:
        yield server


def raw(server: FileServer, request: bytes) -> bytes:
    """Everything that the server answers to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while block := connection.recv(65536):
            received += block
    return received


def parsed(response: bytes) -> Response:
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Response(int(first.split()[1]), headers, body)


def ask(server: FileServer, target: str, *, method: str = "GET", host: str | None = None, **headers: str) -> Response:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return parsed(raw(server, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")))


def test_gives_a_whole_file(server: FileServer) -> None:
    response = ask(server, PATH)
    assert (response.status, response.body) == (200, VIDEO)
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-length"] == str(len(VIDEO))
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["server"] == "s2v"
    assert "access-control-allow-origin" not in response.headers


def test_url_for_names_what_is_served(server: FileServer) -> None:
    url = server.url_for("final_videos", "obama", "obama.mp4")
    assert url == artifact_url(server.port, "final_videos", "obama", "obama.mp4")
    assert ask(server, url.removeprefix(f"http://127.0.0.1:{server.port}")).body == VIDEO


@pytest.mark.parametrize("part", ["../x", ".hidden", "a/b", "", "a b", 'x"onload=', "x.mp4\n"])
def test_urls_are_made_of_store_names_only(part: str) -> None:
    with pytest.raises(ArtifactError):
        artifact_url(3111, "final_videos", "obama", part)


def test_head_tells_the_length_and_sends_nothing(server: FileServer) -> None:
    response = ask(server, PATH, method="HEAD", Range="bytes=0-9")
    assert (response.status, response.body) == (200, b"")
    assert response.headers["content-length"] == str(len(VIDEO))


def test_provenance_records_are_served_and_empty_files_too(server: FileServer) -> None:
    assert ask(server, f"{PATH}.provenance.json").body == b"{}"
    empty = ask(server, "/files/final_videos/obama/empty.json")
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")


def test_html_that_lies_in_the_store_is_a_download(server: FileServer) -> None:
    response = ask(server, "/files/final_videos/obama/page.html")
    assert response.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10000, len(VIDEO)),
        ("bytes=-5", len(VIDEO) - 5, len(VIDEO)),
        ("bytes=-999999", 0, len(VIDEO)),
        ("bytes=10000-999999", 10000, len(VIDEO)),
        ("bytes=0-", 0, len(VIDEO)),
    ],
)
def test_ranges(server: FileServer, asked: str, start: int, stop: int) -> None:
    response = ask(server, PATH, Range=asked)
    assert (response.status, response.body) == (206, VIDEO[start:stop])
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(VIDEO)}"
    assert response.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", [f"bytes={len(VIDEO)}-", "bytes=999999-9999999", "bytes=-0"])
def test_ranges_beyond_the_end_are_refused_with_the_length(server: FileServer, asked: str) -> None:
    response = ask(server, PATH, Range=asked)
    assert response.status == 416
    assert response.headers["content-range"] == f"bytes */{len(VIDEO)}"
    assert VIDEO[:16] not in response.body


@pytest.mark.parametrize(
    "asked", ["bytes=", "bytes=-", "bytes=9-1", "bytes=a-b", "lines=0-1", "bytes=0-1,5-6", f"bytes={'9' * 5000}-", "b"]
)
def test_ranges_that_say_nothing_are_ignored(server: FileServer, asked: str) -> None:
    response = ask(server, PATH, Range=asked)
    assert (response.status, response.body) == (200, VIDEO)


def test_a_changed_file_ends_a_resumed_download(own_server: FileServer, root: Path) -> None:
    tag = ask(own_server, PATH).headers["etag"]
    assert ask(own_server, PATH, Range="bytes=0-9", If_Range=tag).status == 206
    assert ask(own_server, PATH, If_None_Match=tag).status == 304
    (root / "final_videos" / "obama" / "obama.mp4").write_bytes(VIDEO + b"more")
    assert ask(own_server, PATH, Range="bytes=0-9", If_Range=tag).status == 200
    assert ask(own_server, PATH, If_None_Match=tag).status == 200


def test_one_connection_serves_several_requests(server: FileServer) -> None:
    one = f"GET {PATH} HTTP/1.1\r\nHost: localhost:{server.port}\r\nRange: bytes=0-3\r\n\r\n".encode()
    assert raw(server, one * 3).count(b"206 Partial Content") == 3


ESCAPES = [
    "/files/../../etc/passwd",
    "/files/../../../../../../../../etc/passwd",
    "//etc/passwd",
    "/etc/passwd",
    "/files//etc/passwd",
    "/files//etc//passwd",
    "/files/%2e%2e/%2e%2e/etc/passwd",
    "/files/%2e%2e/secret.txt",
    "/files/final_videos/%2e%2e/%2e%2e/secret.txt",
    "/files/final_videos/..%2f../secret.txt",
    "/files/final_videos/obama/..%2f..%2f..%2fsecret.txt",
    "/files/final_videos/obama/%252e%252e%252fsecret.txt",
    "/files/final_videos/obama/..%5c..%5csecret.txt",
    "/files/final_videos/obama/..%c0%afsecret.txt",
    "/files/final_videos/obama/%uff0e%uff0e",
    "/files/final_videos/obama/%2fetc%2fpasswd",
    "/files/final_videos/obama/../obama/obama.mp4",
    "/files/./final_videos/obama/obama.mp4",
    "/files/final_videos/obama/obama.mp4/",
    "/files/final_videos/obama/obama.mp4/x",
    "/files/final_videos/obama/obama.mp4%00.png",
    "/files/final_videos/obama/%00",
    "/files/final_videos/obama/obama.mp4%0a",
    "/files/final_videos/obama/.hidden.mp4",
    "/files/final_videos/obama/%2ehidden.mp4",
    "/files/.hidden/x/y.mp4",
    "/files/.hidden/",
    "/files/final_videos/obama/" + "a" * 3000,
    "/files/final_videos/obama/missing.mp4",
    "/files/final_videos/missing/",
    "/filesystem",
    "/favicon.ico",
    "files/final_videos/obama/obama.mp4",
    "http://127.0.0.1/files/final_videos/obama/obama.mp4",
    "file:///etc/passwd",
    "*",
]


@pytest.mark.parametrize("target", ESCAPES)
def test_nothing_but_names_below_the_root_is_answered(server: FileServer, target: str) -> None:
    response = ask(server, target)
    assert response.status == 404
    assert response.body == b"404 Not Found\n"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_symbolic_links_are_refused_wherever_they_stand(own_server: FileServer, root: Path, tmp_path: Path) -> None:
    folder = root / "final_videos" / "obama"
    (folder / "to_secret.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "to_video.mp4").symlink_to("obama.mp4")  # even one that stays inside
    (root / "final_videos" / "linked").symlink_to(tmp_path / "outside" / "obama")
    (root / "linked").symlink_to(tmp_path / "outside")
    for target in ("final_videos/obama/to_secret.txt", "final_videos/obama/to_video.mp4"):
        assert ask(own_server, f"/files/{target}").status == 404
    for target in ("final_videos/linked/secret.txt", "linked/obama/secret.txt", "final_videos/linked/", "linked/"):
        assert ask(own_server, f"/files/{target}").status == 404
    for target in ("", "final_videos/", "final_videos/obama/"):
        assert b"linked" not in ask(own_server, f"/files/{target}").body
        assert b"to_" not in ask(own_server, f"/files/{target}").body


def test_a_pipe_is_refused_and_blocks_nobody(own_server: FileServer, root: Path) -> None:
    os.mkfifo(root / "final_videos" / "obama" / "pipe.mp4")
    assert ask(own_server, "/files/final_videos/obama/pipe.mp4").status == 404


def test_a_root_that_is_a_link_is_the_users_own_choice(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to(root)
    with FileServer(link, 0) as server:
        assert ask(server, PATH).body == VIDEO


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(own_server: FileServer, root: Path, method: str) -> None:
    request = f"{method} {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{own_server.port}\r\nContent-Length: 4\r\n\r\nevil"
    response = parsed(raw(own_server, request.encode()))
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
    assert (root / "final_videos" / "obama" / "obama.mp4").read_bytes() == VIDEO


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"])
def test_other_host_names_are_refused(server: FileServer, host: str) -> None:
    response = ask(server, PATH, host=host.format(port=server.port))
    assert response.status == 421
    assert VIDEO[:16] not in response.body


def test_localhost_is_a_name_of_this_server(server: FileServer) -> None:
    assert ask(server, PATH, host=f"LOCALHOST:{server.port}").status == 200


@pytest.mark.parametrize(
    "request_text",
    [
        "GET {path} HTTP/1.1\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n",
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 5\r\n\r\nGET /",
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET a b c HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused_without_an_echo(server: FileServer, request_text: str) -> None:
    response = parsed(raw(server, request_text.format(path=PATH, port=server.port).encode()))
    assert (response.status, response.body) == (400, b"400 Bad Request\n")


@pytest.mark.parametrize(
    "request_bytes", [b"", b"\r\n", b"\x16\x03\x01\x02\x00", b"GET /files/ HTTP/x\r\n\r\n", b"\x00" * 70000]
)
def test_garbage_neither_gets_content_nor_ends_the_server(server: FileServer, request_bytes: bytes) -> None:
    assert b"obama" not in raw(server, request_bytes)
    assert ask(server, PATH).status == 200


def test_listings_lead_to_the_video(own_server: FileServer, root: Path) -> None:
    (root / "stray.txt").write_text("not at this depth")
    (root / "final_videos" / "obama" / "<img src=x>.mp4").write_bytes(b"x")
    for target in ("/", "/files", "/files/", "/files/?sort=name"):
        page = ask(own_server, target)
        assert b'<a href="/files/final_videos/">' in page.body
        assert b"hidden" not in page.body
        assert b"stray" not in page.body
    assert b'<a href="/files/final_videos/obama/">' in ask(own_server, "/files/final_videos").body
    page = ask(own_server, "/files/final_videos/obama/")
    assert f'<a href="{PATH}">obama.mp4</a> 10,240 bytes'.encode() in page.body
    assert b"<img" not in page.body
    assert b".hidden" not in page.body
    assert page.headers["content-security-policy"] == "default-src 'none'"
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_listens_on_loopback_only(server: FileServer) -> None:
    with socket.socket() as probe:
        # The whole of 127.0.0.0/8 is this machine; a server on all addresses would answer here too.
        assert probe.connect_ex(("127.0.0.2", server.port)) != 0


def test_a_taken_port_is_an_error_with_a_cure(own_server: FileServer, root: Path) -> None:
    with pytest.raises(SettingsError, match="S2V_SERVER__FILE_PORT"):
        FileServer(root, own_server.port).start()


def test_stop_lets_the_port_go_and_may_come_twice(root: Path) -> None:
    server = FileServer(root, 0)
    server.stop()
    server.start()
    with pytest.raises(RuntimeError):
        server.start()
    port = server.port
    server.stop()
    server.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with FileServer(root, port) as again:
        assert ask(again, PATH).status == 200


def test_makes_a_root_that_is_not_there(tmp_path: Path) -> None:
    with FileServer(tmp_path / "new" / "artifacts", 0) as server:
        assert ask(server, "/files/").status == 200
