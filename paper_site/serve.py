"""A small web server for looking at the site: byte ranges, right types, pages that reload when something changed."""

from __future__ import annotations

import html
import os
import re
import threading
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from paper_site.errors import SiteError

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".flac": "audio/flac",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".yaml": "text/yaml; charset=utf-8",
    ".yml": "text/yaml; charset=utf-8",
}
_RELOAD_SCRIPT = "/_reload.js"
_RELOAD_STREAM = "/_reload"
_SCRIPT = """(function () {
  "use strict";
  var stream = new EventSource("/_reload"), first = null;
  stream.onmessage = function (event) {
    if (first === null) first = event.data;
    else if (event.data !== first) location.reload();
  };
})();
"""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


class State:
    """What the server shows: a counter that rises with every build, and the error of the last one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.version = 0
        self.error: SiteError | None = None
        self.closed = False

    def built(self, error: SiteError | None = None) -> None:
        """Tell open pages that there is something new to see."""
        with self._changed:
            self.version += 1
            self.error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Let waiting requests end."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def wait(self, version: int, timeout_s: float) -> int:
        """Wait until the counter differs from the given one."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version or self.closed, timeout_s)
            return self.version


class Handler(SimpleHTTPRequestHandler):
    """Serves one folder; a single byte range per request."""

    protocol_version = "HTTP/1.1"
    server_version = "Earwitness"
    sys_version = ""

    def __init__(self, *args: Any, state: State, **kwargs: Any) -> None:
        self.state = state
        self._left: int | None = None
        super().__init__(*args, **kwargs)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Name the type of a file by its extension."""
        return TYPES.get(Path(path).suffix.lower(), "application/octet-stream")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class names it so)
        """Stay silent."""

    def do_GET(self) -> None:
        """Answer a request, the reload stream included."""
        if self.path == _RELOAD_STREAM:
            self._stream()
            return
        super().do_GET()

    def send_head(self) -> IO[bytes] | None:  # type: ignore[override]
        """Send the status and the headers; return what is to follow."""
        self._left = None
        path = self.path.split("?", 1)[0].split("#", 1)[0]
        if path == _RELOAD_SCRIPT:
            return self._send_bytes(_SCRIPT.encode(), TYPES[".js"])
        file = Path(self.translate_path(path))
        root = Path(self.directory).resolve()
        if not file.resolve().is_relative_to(root) or any(p.startswith(".") for p in file.relative_to(root).parts):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        if file.is_dir():
            if not path.endswith("/"):
                self.send_response(HTTPStatus.MOVED_PERMANENTLY)
                self.send_header("Location", path + "/")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            file /= "index.html"
        if self.state.error is not None and file.suffix == ".html":
            return self._send_bytes(error_page(self.state.error).encode(), TYPES[".html"], status=500)
        try:
            data = file.open("rb")
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        if file.suffix == ".html":
            with data:
                page = data.read().replace(b"</head>", b'<script src="/_reload.js" defer></script></head>', 1)
            return self._send_bytes(page, TYPES[".html"])
        return self._send_file(data, file)

    def _send_bytes(self, data: bytes, kind: str, status: int = 200) -> IO[bytes]:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return BytesIO(data)

    def _send_file(self, data: IO[bytes], file: Path) -> IO[bytes] | None:
        length = os.fstat(data.fileno()).st_size
        found = _RANGE.match(self.headers.get("Range", "").strip())
        if not found or found.groups() == ("", ""):
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", self.guess_type(file))
            self.send_header("Content-Length", str(length))
            self.end_headers()
            return data
        first, last = found.groups()
        if first:
            start, stop = int(first), min(int(last), length - 1) if last else length - 1
        else:
            start, stop = max(0, length - int(last)), length - 1
        if start >= length or stop < start:
            data.close()
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{length}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Range", f"bytes {start}-{stop}/{length}")
        self.send_header("Content-Length", str(stop - start + 1))
        self.end_headers()
        data.seek(start)
        self._left = stop - start + 1
        return data

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the body, no more of it than the range asks for."""
        left = self._left
        try:
            while left is None or left > 0:
                block = source.read(65536 if left is None else min(65536, left))
                if not block:
                    break
                outputfile.write(block)
                left = None if left is None else left - len(block)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def end_headers(self) -> None:
        """Add what every answer says."""
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def _stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        version = -1
        try:
            while not self.state.closed:
                version = self.state.wait(version, 10.0)
                self.wfile.write(f"data: {version}\n\n".encode())
                self.wfile.flush()
        except OSError:
            return


def error_page(error: SiteError, context_lines: int = 4) -> str:
    """Make a page that shows what stopped the build and the lines of the source around it."""
    lines = ""
    if error.path is not None and error.line is not None:
        try:
            text = error.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            text = []
        start = max(0, error.line - 1 - context_lines)
        for index, content in enumerate(text[start : error.line + context_lines], start + 1):
            mark = "&gt;" if index == error.line else " "
            lines += f"{mark} {index:5d}  {html.escape(content[:300])}\n"
    place = html.escape(str(error.path)) if error.path else "the build"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The site was not built</title>'
        '<script src="/_reload.js" defer></script></head><body>'
        f"<h1>The site was not built</h1><p>{html.escape(error.message)}</p>"
        f"<p><code>{place}</code></p><pre>{lines}</pre>"
        "<p>This page reloads as soon as the next build succeeds. The last good site is untouched.</p></body></html>"
    )


def stamps(folders: Iterable[Path], skip: Path) -> dict[str, int]:
    """Note the time of change of every file under the folders, the site itself left out."""
    found: dict[str, int] = {}
    for folder in folders:
        for root, names, files in os.walk(folder):
            names[:] = [n for n in names if not n.startswith(".") and n != "__pycache__" and Path(root, n) != skip]
            for name in files:
                path = Path(root, name)
                try:
                    found[str(path)] = path.stat().st_mtime_ns
                except OSError:
                    continue
    return found


def start(destination: Path, port: int, state: State) -> ThreadingHTTPServer:
    """Start serving a folder to this machine alone, in a thread of its own.

    Args:
        destination: The folder.
        port: TCP port; 0 for any free one.
        state: Shared with whoever builds.

    Returns:
        The running server; ``server_address[1]`` is its port.

    Raises:
        SiteError: If the port is taken.
    """
    handler = partial(Handler, directory=str(destination.resolve()), state=state)
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as wrong:
        raise SiteError(f"port {port} cannot be used: {wrong.strerror}; choose another with --port") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


def watch(
    folders: list[Path],
    skip: Path,
    rebuild: Callable[[], None],
    state: State,
    seen: dict[str, int],
    *,
    interval_s: float = 0.5,
) -> None:
    """Build again whenever a watched file changed, until the state is closed; errors go to the open pages.

    Args:
        folders: What to watch.
        skip: Folder of the site.
        rebuild: Builds again.
        state: Shared with the server.
        seen: What :func:`stamps` found before the build that is being served.
        interval_s: Time between two looks.
    """
    pause = threading.Event()
    while not state.closed:
        pause.wait(interval_s)
        now = stamps(folders, skip)
        if now == seen:
            continue
        seen = now
        try:
            rebuild()
        except SiteError as wrong:
            state.built(wrong)
        else:
            state.built()
