"""Start a companion for another paper: a folder that builds and passes every check at once."""

from __future__ import annotations

import json
from pathlib import Path

from paper_site.documents import read_text
from paper_site.errors import ContentError, OutputError

STARTER = Path(__file__).resolve().parent / "starter"
# Hidden files are kept under plain names, so that they do not act on this project itself.
FILES = {
    "_data/site.yml": "_data/site.yml",
    "index.md": "index.md",
    "about.md": "about.md",
    "CITATION.cff": "CITATION.cff",
    ".gitignore": "gitignore",
}
TITLE = "Title of the paper"


def check_new_folder(folder: Path) -> None:
    """Refuse a folder in which something lies already.

    Raises:
        OutputError: If it is a file, or a folder that is not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder that is empty or does not exist")
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; name a folder that is empty or does not exist")


LINT = """
# What a check of the audio finds stands on the page on reproduction. Files from elsewhere are shown as they are; take a
# line away, and its finding stops the build.
lint:
  severity: {duration: warning, full_scale: warning, silence: warning, dc: warning, same_bytes: warning}
"""


def start_companion(folder: Path, *, title: str | None = None, finished_audio: bool = False) -> list[str]:
    """Write the texts of a new companion.

    Args:
        folder: Made when missing.
        title: Of the paper.
        finished_audio: Whether the sounds are finished files from elsewhere, of which the check of the audio may only
            tell what it finds.

    Returns:
        The files written, relative to the folder.

    Raises:
        OutputError: If the folder is not empty or cannot be written.
    """
    check_new_folder(folder)
    name = " ".join((title or TITLE).split())
    if not name:
        raise ContentError("the title is empty; write --title 'Title of the paper'")
    # JSON's form of a text is YAML's as well.
    quoted = json.dumps(name, ensure_ascii=False)
    try:
        for target, origin in FILES.items():
            text = read_text(STARTER / origin, ContentError)
            text = text.replace('"{{ title_text }}"', quoted).replace("{{ title }}", quoted)
            if finished_audio and target == "_data/site.yml":
                text += LINT
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as wrong:
        raise OutputError(f"{wrong.filename or folder} cannot be written: {wrong.strerror or wrong}") from None
    return list(FILES)
