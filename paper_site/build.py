"""Build a companion's site: read, list, render, write.

The last good site stays whole when anything before the writing fails. What the work needs is imported once it is known
that there is work: seeing that there is none takes less time than the imports would.
"""

from __future__ import annotations

import gc
import marshal
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from paper_site import cache as cached
from paper_site.errors import DataError

if TYPE_CHECKING:
    from paper_site.manifest import Companion
    from paper_site.output import Rendered, Written
    from paper_site.pages import Page
    from paper_site.provenance import Ledger
    from paper_site.trace import Digester

PROJECT = Path(__file__).resolve().parent.parent
CONTENT = Path(__file__).resolve().parent / "content"
TEMPLATES = Path(__file__).resolve().parent / "templates"
THEME = PROJECT / "assets"
CACHE = ".cache/site"
_THEME_FOLDERS = ("css", "js")
_LEDGER = ".earwitness-site.json"


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    Attributes:
        pages: Number of pages.
        samples: Number of clips that can be heard.
        missing: Collections that the companion asks for and that have no results.
        written: What was done in the destination.
        reasons: Path of every page that was rendered, and why.
        hidden: What was taken out for blind review; None for a site with names.
    """

    pages: int
    samples: int
    missing: tuple[str, ...]
    written: Written
    reasons: Mapping[str, str] = field(default_factory=dict)
    hidden: Hidden | None = None


@dataclass(frozen=True)
class Hidden:
    """What a build for blind review took out.

    Attributes:
        names: Number of names and commits looked for.
        changed: Number of files from which something was taken.
        proved: Number of files that were read again, and in which nothing of them is left.
    """

    names: int
    changed: int
    proved: int


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Walk a folder in a fixed order, hidden files and links left out."""
    start = len(str(folder)) + 1
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "_")))
        here, inner = Path(root), root[start:].replace(os.sep, "/")
        links = {entry.name for entry in os.scandir(root) if entry.is_symlink()}
        for name in sorted(files):
            if not name.startswith(".") and name not in links:
                yield f"{inner}/{name}" if inner else name, here / name


def _copies(companion: Companion) -> dict[str, Path]:
    copies: dict[str, Path] = {}
    for name in _THEME_FOLDERS:
        for inner, path in _files(THEME / name):
            copies[f"assets/{name}/{inner}"] = path
    named = {path for path in _named_media(companion)}
    owned = tuple(f"assets/{kind}/{part.name}/" for kind in ("audio", "images") for part in companion.heard)
    for inner, path in _files(companion.source / "assets"):
        target = f"assets/{inner}"
        # What an earlier selection left in a collection's folder is not published.
        if not target.startswith(owned) or target in named:
            copies[target] = path
    for target, path in companion.documents.items():
        copies[target] = path
    return copies


def _named_media(companion: Companion) -> Iterator[str]:
    for part in companion.heard:
        for sample in part.samples:
            for track in sample.tracks:
                yield from (file.path for file in track.files.values())
                for picture in track.pictures.values():
                    yield picture.light
                    if picture.dark:
                        yield picture.dark


def content_folders(source: Path) -> list[Path]:
    """Name the folders of a companion's texts; our own companion's lie in ``paper_site/content``."""
    return [source, CONTENT] if source.resolve() == PROJECT else [source]


def build(
    source: Path,
    destination: Path,
    *,
    templates: Path = TEMPLATES,
    content: Sequence[Path] = (),
    cache: Path | None = None,
    anonymous: bool = False,
) -> BuildReport:
    """Build the site of a companion.

    Args:
        source: Folder with ``_data/``, ``assets/`` and the authors' texts.
        destination: Folder of the site.
        templates: Folder of the templates.
        content: Folders of texts; by default those of `content_folders`.
        cache: Folder in which to remember what the next build need not do again; None renders everything.
        anonymous: Make a site for blind review, without names, commits and links to repositories; always made whole.

    Returns:
        What was made.

    Raises:
        SiteError: For anything wrong in the data, the texts, the templates or the destination. Nothing was written
            then, unless it was the destination itself that failed.
    """
    if not source.is_dir():
        raise DataError("there is no such folder; --source names the companion's folder", path=source)
    source = source.resolve()
    task = _Task(source, destination, templates, tuple(content) or tuple(content_folders(source)), anonymous)
    with cached.using(cached.Cache(None if anonymous else cache)), _collecting_nothing():
        return _nothing_to_do(task) or _build(task)


@contextmanager
def _collecting_nothing() -> Iterator[None]:
    """A build drops next to none of its many objects before its end: looking for garbage takes a sixth of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True)
class _Task:
    source: Path
    destination: Path
    templates: Path
    content: tuple[Path, ...]
    anonymous: bool = False

    @property
    def settings(self) -> tuple[str, ...]:
        """What a build depends on beside files."""
        paths = (self.source, self.templates, *self.content)
        return (os.environ.get("SOURCE_DATE_EPOCH", ""), *(str(path) for path in paths))

    @property
    def key(self) -> bytes:
        """Names this build among those that share a cache."""
        return cached.digest("\0".join((str(self.destination.resolve()), *self.settings)).encode())

    def inputs(self) -> cached.Listing:
        """List every file that a build could read, with its stamp."""
        found: cached.Listing = {}
        skip = frozenset({str(self.destination.resolve())})
        cached.list_tree(self.source, found, deep=False, skip=skip)
        for name in [path.removesuffix("/") for path in found if path.endswith("/")]:
            folder = Path(name)
            # Another site of this companion is no input of this one.
            if folder.name == "assets" or (
                folder.name.startswith("_") and folder.name != "_results" and not (folder / _LEDGER).exists()
            ):
                cached.list_tree(folder, found, skip=skip)
        schema = PROJECT / "_data" / "schema"
        themes = tuple(THEME / name for name in _THEME_FOLDERS)
        for folder in (*self.content, self.templates, Path(__file__).resolve().parent, schema, *themes):
            if folder != self.source:
                cached.list_tree(folder, found)
        return found


def _refuse_links(source: Path, inputs: cached.Listing) -> None:
    """Stop at links that lead out of the companion: what they show could be anything on this machine."""
    for name in sorted(inputs):
        if not name.endswith("@"):
            continue
        path = Path(name.removesuffix("@"))
        if not path.is_relative_to(source) or path.resolve().is_relative_to(source):
            continue
        parts = path.relative_to(source).parts
        if len(parts) > 1 or parts[0] in {"_data", "assets"} or path.suffix.lower() in {".md", ".html"}:
            raise DataError("is a link that leaves the companion's folder; put what it names in its place", path=path)


def _outputs(destination: Path, names: Iterator[str] | Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = cached.stamp_of(os.lstat(f"{destination}/{name}"))
        except OSError:
            found[name] = None
    return found


def _nothing_to_do(task: _Task) -> BuildReport | None:
    """Tell from the stamps of all files that the site is as it should be."""
    state = cached.active().get("build", task.key)
    if state is None or state["versions"] != cached.versions():
        return None
    if not cached.same_listing(state["inputs"], task.inputs()):
        return None
    if _outputs(task.destination, list(state["outputs"])) != state["outputs"]:
        return None
    from paper_site.output import Written

    pages, samples, missing = state["report"]
    return BuildReport(pages, samples, tuple(missing), Written(0, len(state["outputs"]) - 1, 0))


_RUN_LINK = re.compile(rb"runs/([^\"#?<> ]+)\.html")


def _documents_of_runs(companion: Companion) -> dict[str, list[Any]]:
    """Name of a run in links to the documents that hold what it measured, each with its hash."""
    from paper_site.pages import safe_name

    hashes = {name: cached.file_digest(path) for name, path in companion.documents.items()}
    named: dict[str, set[str]] = {run: {f"data/runs/{run}.json"} for run in companion.runs}

    def add(run: str | None, *names: str) -> None:
        if run is not None:
            named.setdefault(run, set()).update(names)

    for part in companion.heard:
        for sample in part.samples:
            for track in sample.tracks:
                add(track.run, f"data/{part.name}.yml")
    for collection in companion.collections:
        if collection.results:
            name = collection.name
            add(collection.results.run, f"data/results/{name}.json", f"data/clips/{name}.json", f"data/{name}.yml")
    for study in companion.studies:
        if study.findings:
            add(study.findings.run, f"data/studies/{study.name}.json")
    return {safe_name(run): [(name, hashes.get(name)) for name in sorted(names)] for run, names in named.items()}


def _check_numbers(
    companion: Companion, pages: Sequence[Page], rendered: Mapping[str, Rendered], ledger: Callable[[], Ledger]
) -> None:
    """Check the numbers of the pages against their sources, where a page or a source of its own has changed."""
    from paper_site.extras import check_numbers

    documents = _documents_of_runs(companion)
    for page in pages:
        shown = rendered[page.path]
        key = cached.digest(cached.active().tools + marshal.dumps((page.path, page.kind, shown.sha256), 2))
        found = cached.active().get("traced", key)
        if found is not None and found[1] == [documents.get(run) for run in found[0]]:
            continue
        data = shown.read()
        check_numbers([page], {page.path: data}, ledger())
        # On the page of a run its own numbers stand without a link.
        own = [page.path.removeprefix("runs/").removesuffix(".html")] if page.path.startswith("runs/") else []
        runs = sorted({*own, *(unquote(link.decode()) for link in _RUN_LINK.findall(data))})
        cached.active().put("traced", key, (runs, [documents.get(run) for run in runs]))


def _facts(companion: Companion, ledger: Callable[[], Ledger], digester: Digester) -> dict[str, Rendered]:
    """Make the files that hold what the cards of the numbers say, and those for other programs."""
    from paper_site.extras import extra_files
    from paper_site.output import Rendered

    hashes = sorted((name, cached.file_digest(path)) for name, path in companion.documents.items())
    made = cached.active().made_from(
        "facts", digester.of((companion, hashes)), lambda: extra_files(companion, ledger())
    )
    return {name: Rendered.of(data) for name, data in made.items()}


def _hide(
    companion: Companion, rendered: Mapping[str, Rendered], copies: Mapping[str, Path]
) -> tuple[dict[str, Rendered], dict[str, Path], Hidden]:
    from paper_site.anonymous import anonymise, deny_list
    from paper_site.output import Rendered

    names = deny_list(companion)
    made, kept, changed = anonymise(names, {name: page.read() for name, page in rendered.items()}, copies)
    count = len(names.names) + len(names.words) + len(names.commits)
    return {name: Rendered.of(data) for name, data in made.items()}, kept, Hidden(count, changed, 0)


def _proved(
    companion: Companion, rendered: Mapping[str, Rendered], copies: Mapping[str, Path], hidden: Hidden
) -> Hidden:
    from paper_site.anonymous import deny_list, prove

    proved = prove(deny_list(companion), {name: page.read for name, page in rendered.items()})
    proved += prove(deny_list(companion), {name: path.read_bytes for name, path in copies.items()})
    return Hidden(hidden.names, hidden.changed, proved)


def _build(task: _Task) -> BuildReport:
    from paper_site.content import read_prose
    from paper_site.extras import check_audio, check_published, printing
    from paper_site.increment import Increment
    from paper_site.lint import Files
    from paper_site.manifest import read_companion
    from paper_site.output import check_destination, write_site
    from paper_site.pages import list_pages
    from paper_site.provenance import ledger_of
    from paper_site.render import Renderer
    from paper_site.sums import seal

    source, destination = task.source, task.destination
    check_destination(destination, source)
    # Noted before anything is read: what changes meanwhile is seen by the next build.
    started, inputs = time.time_ns(), task.inputs()
    _refuse_links(source, inputs)
    tools = cached.tool_digest([Path(__file__).resolve().parent, PROJECT / "_data" / "schema"])
    cached.active().tools = tools
    files = Files(str(source))
    companion = check_audio(read_companion(source), files)
    named = companion
    if task.anonymous:
        from paper_site.anonymous import blind

        companion = blind(companion)
    prose = read_prose(list(task.content), companion.site.raw.get("collections") or ())
    pages = list_pages(companion, prose)
    own_styles = tuple(
        f"assets/css/{p.name}"
        for p in sorted((source / "assets" / "css").glob("*.css"))
        if source != PROJECT and not (THEME / "css" / p.name).is_file()
    )
    renderer = Renderer(companion, pages, templates=task.templates, stylesheets=own_styles)
    increment = Increment(renderer, cached.digest(marshal.dumps((tools, task.settings), 2)), str(source))
    rendered = {page.path: increment.page(page) for page in pages}
    ledger = lru_cache(lambda: ledger_of(companion))
    _check_numbers(companion, pages, rendered, ledger)
    rendered |= _facts(companion, ledger, renderer.digester)
    copies = _copies(companion)
    check_published(companion, copies, lambda: {name: page.read() for name, page in rendered.items()})
    hidden = None
    if task.anonymous:
        rendered, copies, hidden = _hide(named, rendered, copies)
    rendered = seal(rendered, printing(pages), {name: files.sha256(path) for name, path in copies.items()})
    if hidden is not None:
        hidden = _proved(named, rendered, copies, hidden)
    files.save()
    written = write_site(destination, source, rendered, copies)
    increment.finish()
    samples = sum(len(part.samples) for part in companion.heard)
    missing = tuple(job.collection for job in companion.missing)
    cached.active().put(
        "build",
        task.key,
        {
            "versions": cached.versions(),
            "inputs": cached.trusted(inputs, started),
            "outputs": _outputs(destination, [_LEDGER, *rendered, *copies]),
            "report": (len(pages), samples, missing),
        },
    )
    return BuildReport(len(pages), samples, missing, written, increment.reasons, hidden)
