"""The whole site in one file: unpacked anywhere, it opens from disk. The same site makes the same bytes."""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from paper_site.errors import OutputError

LIMIT_BYTES = 10**9
"""What the common host of project pages takes."""

_STORED = frozenset(
    [".ogg", ".oga", ".opus", ".flac", ".mp3", ".png", ".jpg", ".jpeg", ".webp", ".gz", ".zip", ".woff2", ".pdf"]
)
_EARLIEST = 315532800  # 1980-01-01, before which the form knows no time


@dataclass(frozen=True)
class Archive:
    """What was packed.

    Attributes:
        path: The archive.
        files: Number of files.
        size_bytes: Size of the archive.
        unpacked_bytes: Size of the files.
    """

    path: Path
    files: int
    size_bytes: int
    unpacked_bytes: int


def pack(site: Path, path: Path, *, limit_bytes: int = LIMIT_BYTES) -> Archive:
    """Pack a built site.

    Files lie in one folder with the archive's name, sorted, all with one time (SOURCE_DATE_EPOCH, else 1980) and one
    mode; what is compressed already is stored as it is.

    Args:
        site: Folder of the site.
        path: The archive to write; replaced in one step.
        limit_bytes: Largest size of the unpacked site.

    Raises:
        OutputError: If the site is too large for its host, has no first page, or the archive cannot be written.
    """
    if not (site / "index.html").is_file():
        raise OutputError(f"{site} holds no index.html; build the site first")
    files = sorted(
        (file.relative_to(site).as_posix(), file)
        for file in site.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(site).parts)
    )
    total = sum(file.stat().st_size for _, file in files)
    if total > limit_bytes:
        largest = sorted(files, key=lambda entry: -entry[1].stat().st_size)[:3]
        named = ", ".join(f"{name} ({file.stat().st_size / 1e6:.0f} MB)" for name, file in largest)
        raise OutputError(
            f"the site has {total / 1e9:.2f} GB, more than the {limit_bytes / 1e9:g} GB of the common host;"
            f" publish fewer clips or formats (the largest files: {named})"
        )
    stamp = time.gmtime(max(_EARLIEST, int(os.environ.get("SOURCE_DATE_EPOCH") or _EARLIEST)))[:6]
    part = path.with_name(f".{path.name}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for name, file in files:
                entry = zipfile.ZipInfo(f"{path.stem}/{name}", stamp)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                stored = file.suffix.lower() in _STORED
                entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                archive.writestr(entry, file.read_bytes(), compresslevel=None if stored else 6)
        part.replace(path)
    except OSError as wrong:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {wrong.strerror or wrong}") from None
    return Archive(path, len(files), path.stat().st_size, total)
