"""Print pages of a built site to PDF with the Chromium that is installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from paper_site.errors import DataError, OutputError, ToolError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 120
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
    # Chromium refuses to start as root with its sandbox; it reads our own pages and nothing else.
    "--no-sandbox",
)


def find_browser() -> str:
    """Name the Chromium on the PATH.

    Raises:
        ToolError: If there is none.
    """
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    raise ToolError(f"no Chromium is installed (looked for {', '.join(BROWSERS)}); on Debian: apt-get install chromium")


def print_pages(site: Path, pages: Sequence[str], destination: Path) -> Iterator[Path]:
    """Print pages of a built site, one file each, in the print style of the site.

    Args:
        site: Folder of the built site.
        pages: Paths inside it, such as ``results.html``.
        destination: Folder of the PDF files; made when missing.

    Yields:
        Each file as it is finished.

    Raises:
        DataError: If a page does not exist.
        ToolError: If there is no Chromium, or it fails.
        OutputError: If the folder cannot be written.
    """
    for page in pages:
        if not (site / page).is_file():
            raise DataError(f"there is no page {page!r}; name a path inside the site, such as index.html", path=site)
    browser = find_browser()
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as wrong:
        raise OutputError(f"cannot be made ({wrong.strerror})", path=destination) from None
    for page in pages:
        target = destination / (page.removesuffix(".html").replace("/", "-") + ".pdf")
        with tempfile.TemporaryDirectory() as profile:
            command = [browser, *_FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={target.resolve()}"]
            try:
                done = subprocess.run(
                    [*command, (site / page).resolve().as_uri()], capture_output=True, text=True, timeout=_TIMEOUT_S
                )
            except subprocess.TimeoutExpired:
                raise ToolError(f"{browser} took more than {_TIMEOUT_S} s over {page}", path=site) from None
        if done.returncode or not target.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ToolError(f"{browser} could not print {page}: {last}", path=site)
        yield target
