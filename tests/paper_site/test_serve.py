from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from paper_site.errors import ContentError, SiteError
from paper_site.serve import State, error_page, stamps, start

DATA = bytes(range(256)) * 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, State, Path]]:
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "a.ogg").write_bytes(DATA)
    (root / "index.html").write_text("<html><head></head><body>x</body></html>", encoding="utf-8")
    (root / "sub" / "index.html").write_text("<head></head>sub", encoding="utf-8")
    (root / ".earwitness-site.json").write_text("{}", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    state = State()
    running = start(root, 0, state)
    yield int(running.server_address[1]), state, root
    state.close()
    running.shutdown()
    running.server_close()


def _get(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body


@pytest.mark.parametrize(
    ("wanted", "status", "part", "content_range"),
    [
        ("bytes=0-1", 206, DATA[:2], f"bytes 0-1/{len(DATA)}"),  # what Safari asks first
        ("bytes=100-", 206, DATA[100:], f"bytes 100-{len(DATA) - 1}/{len(DATA)}"),
        ("bytes=-5", 206, DATA[-5:], f"bytes {len(DATA) - 5}-{len(DATA) - 1}/{len(DATA)}"),
        ("bytes=5-999999999", 206, DATA[5:], f"bytes 5-{len(DATA) - 1}/{len(DATA)}"),
        (f"bytes={len(DATA)}-", 416, b"", f"bytes */{len(DATA)}"),
        ("bytes=-0", 416, b"", f"bytes */{len(DATA)}"),
        ("bytes=-", 200, DATA, None),
        ("bytes=1-2,4-5", 200, DATA, None),
        ("chapters=1-2", 200, DATA, None),
    ],
)
def test_byte_ranges(
    server: tuple[int, State, Path], wanted: str, status: int, part: bytes, content_range: str | None
) -> None:
    got, headers, body = _get(server[0], "/a.ogg", Range=wanted)
    assert (got, body, headers.get("content-range")) == (status, part, content_range)
    assert headers["accept-ranges"] == "bytes"
    assert int(headers["content-length"]) == len(part)


def test_types_folders_and_the_reload_script(server: tuple[int, State, Path]) -> None:
    port = server[0]
    assert _get(port, "/a.ogg")[1]["content-type"] == "audio/ogg"
    status, headers, body = _get(port, "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b'src="/_reload.js"' in body
    assert _get(port, "/_reload.js")[1]["content-type"].startswith("text/javascript")
    status, headers, _ = _get(port, "/sub")
    assert (status, headers["location"]) == (301, "/sub/")
    assert b"sub" in _get(port, "/sub/")[2]


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/link.txt", "/.earwitness-site.json", "/none", "//etc/passwd"]
)
def test_nothing_outside_the_site_is_served(server: tuple[int, State, Path], path: str) -> None:
    status, _, body = _get(server[0], path)
    assert status == 404
    assert b"secret" not in body


def test_a_failed_build_shows_the_line(server: tuple[int, State, Path], tmp_path: Path) -> None:
    port, state, _ = server
    source = tmp_path / "x.md"
    source.write_text("one\n<b>two</b>\nthree\n", encoding="utf-8")
    state.built(ContentError("wrong <thing>", path=source, line=2))
    status, _, body = _get(port, "/")
    assert status == 500
    assert b"&gt;     2  &lt;b&gt;two" in body and b"wrong &lt;thing&gt;" in body
    state.built()
    assert _get(port, "/")[0] == 200
    assert "x.md" in error_page(ContentError("m", path=tmp_path / "x.md"))


def test_the_stream_tells_of_a_build(server: tuple[int, State, Path]) -> None:
    port, state, _ = server
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/_reload")
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert answer.fp.readline() == b"data: 0\n"
    answer.fp.readline()
    state.built()
    assert answer.fp.readline() == b"data: 1\n"
    state.close()
    connection.close()


def test_a_taken_port_is_one_clear_line(server: tuple[int, State, Path]) -> None:
    with pytest.raises(SiteError, match="--port"):
        start(server[2], server[0], State())


def test_stamps_see_changes_and_skip_the_site(tmp_path: Path) -> None:
    (tmp_path / "_site").mkdir()
    (tmp_path / "_site" / "x").write_text("x", encoding="utf-8")
    (tmp_path / "a.md").write_text("1", encoding="utf-8")
    seen = stamps([tmp_path], tmp_path / "_site")
    assert [Path(name).name for name in seen] == ["a.md"]
