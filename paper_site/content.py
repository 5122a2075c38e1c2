"""Find the authors' texts of a companion, by Jekyll's folder habits.

Texts lie in the source folder itself (``index.md``, ``about.md``, ``results.html`` …), those for one model in
``_models/``, those for one listening table in ``_listen/`` and those for one study in ``_studies/``. Only files that
begin with front matter count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from paper_site.documents import read_text, split_front_matter
from paper_site.errors import ContentError
from paper_site.pages import Prose

MARKDOWN = {".md", ".markdown", ".mkd", ".mkdn", ".mkdown"}
_FOLDERS = {"": "", "_models": "models/", "_listen": "listen/", "_studies": "studies/"}


def _candidates(folder: Path, collections: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for name, prefix in {**{f"_{name}": f"{name}/" for name in collections}, **_FOLDERS}.items():
        inner = folder / name if name else folder
        if not inner.is_dir():
            continue
        for path in sorted(inner.iterdir()):
            hidden = path.name.startswith((".", "_", "#", "~")) or path.name.endswith("~")
            if hidden or path.is_symlink() or not path.is_file():
                continue
            if path.suffix.lower() in MARKDOWN or path.suffix.lower() == ".html":
                yield prefix + path.stem, path


def read_prose(folders: Sequence[Path], collections: Sequence[str] = ()) -> dict[str, Prose]:
    """Read the texts of a companion.

    Args:
        folders: Where to look; an earlier folder's text hides a later one's of the same name.
        collections: Names of further folders of texts: ``notes`` for ``_notes/``.

    Returns:
        Name, such as ``index`` or ``models/vqvae2``, to text.

    Raises:
        ContentError: For broken front matter, or two files of one name in one folder.
    """
    found: dict[str, Prose] = {}
    for folder in folders:
        here: dict[str, Prose] = {}
        for name, path in _candidates(folder, collections):
            text = read_text(path, ContentError)
            parts = split_front_matter(text, path)
            if parts is None:
                continue
            values, body, line = parts
            if values.get("published") is False:
                continue
            if name in here:
                raise ContentError(f"{here[name].path.name} is the same page; remove one of the two", path=path)
            here[name] = Prose(name, path, values, body, line, path.suffix.lower() in MARKDOWN)
        for name, prose in here.items():
            found.setdefault(name, prose)
    return found
