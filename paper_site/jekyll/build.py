"""Build a Jekyll companion: read, render, write. The last good site stays whole when anything goes wrong.

The first build renders all pages, in two processes where that pays. A later one renders the pages of which something
The first build renders all pages, in two processes where that pays. A later one renders those of which something that
they read has changed: their own text, a layout or an included file, a value below ``site.data``, or, for those that
"""

from __future__ import annotations

import gc
import json
import marshal
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_site.errors import ContentError, DataError, OutputError, SiteError, ToolError
from paper_site.jekyll import quick, state
from paper_site.jekyll.engine import KEYS
from paper_site.jekyll.site import Page, Site
from paper_site.jekyll.state import State
from paper_site.jekyll.writer import Entry, Writer, check_names, read_ledger, write_ledger
from paper_site.output import Written, _locked, check_destination

# Fewer pages than this are rendered before a second process would have begun.
WORTH_A_PROCESS = 600
_ERRORS = {kind.__name__: kind for kind in (ContentError, DataError, OutputError, ToolError)}


@dataclass(frozen=True)
class JekyllReport:
    """What a build made.

    Attributes:
        pages: Number of rendered files of the site.
        files: Number of copied files of the site.
        written: What was done in the destination.
        reasons: Page -> why it was rendered.
    """

    pages: int
    files: int
    written: Written
    reasons: dict[str, str]


@dataclass
class Rendered:
    """One page that is ready to be written.

    Attributes:
        relative: Its file in the source.
        target: Its path in the site.
        data: Its bytes.
        listed: Whether it depends on other pages.
        used: Layouts and included files, paths from the source.
        reads: What it read below ``site.data``.
    """

    relative: str
    target: str
    data: bytes
    listed: bool
    used: tuple[str, ...]
    reads: tuple[state.Read, ...]


def epoch_of(environment: dict[str, str]) -> float | None:
    """``SOURCE_DATE_EPOCH`` as a number, or None without one.

    Raises:
        ContentError: If it is no whole number.
    """
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdigit() or len(text) > 11:
        raise ContentError(f"SOURCE_DATE_EPOCH is {text!r}; it must be seconds since 1970")
    return float(text)


def build_jekyll(source: Path, destination: Path, *, parallel: bool | None = None) -> JekyllReport:
    """Build a companion.

    Args:
        source: Its folder.
        destination: The site's folder.
        parallel: Whether to use a second process; found out when None.

    Raises:
        SiteError: With file and line, before anything is written.
    """
    source, destination = source.resolve(), destination.resolve()
    check_destination(destination, source)
    folder = quick.place(str(source), str(destination))
    entries = quick.seen.pop((str(source), str(destination)), None)
    if entries is None:
        entries = quick.scan(str(source), quick.skipped(str(source), str(destination)))
    tool = quick.digest(quick.tool())
    ledger = read_ledger(destination)
    last = state.load(folder) if ledger else None
    if last is not None:
        # The ledger says what is ours, the state what it looked like when it was written.
        known = last.entries
        for name, entry in ledger.items():
            full = known.get(name)
            if full is not None and full.get("sha256") == entry.get("sha256"):
                ledger[name] = full
    if last is not None and (last.tool != tool or {row[0] for row in last.made.values()} - ledger.keys()):
        last = None
    state.forget(folder)
    # Ten thousand pages are many small objects and no circles: looking for those takes longer than rendering.
    collects = gc.isenabled()
    gc.disable()
    try:
        work = _Build(source, destination, entries, ledger, tool, parallel)
        report, after = (work.some(last) if last is not None else None) or work.all(last)
        # Taken before anything was read, so that a change during the build is seen by the next one.
        inputs = quick.digest([quick.tool(), entries])
        state.save(folder, after, inputs, quick.digest(work.outputs))
    except OSError as wrong:
        place = wrong.filename or destination
        raise OutputError(f"{place} cannot be written: {wrong.strerror or wrong}") from None
    finally:
        if collects:
            gc.enable()
    return report


def _triples(flat: Iterable[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Take a flat list of name, time and size apart; a rest that is cut short names no file."""
    values = iter(flat)
    return zip(values, values, values, strict=False)


class _Build:
    def __init__(
        self,
        source: Path,
        destination: Path,
        entries: list[str | int],
        ledger: dict[str, Entry],
        tool: str,
        parallel: bool | None,
    ) -> None:
        self.source = source
        self.destination = destination
        self.entries = entries
        self.ledger = ledger
        self.tool = tool
        self.parallel = parallel
        self.outputs: list[str | int] = []
        self.after: dict[str, Entry] = {}
        self.sets: dict[frozenset[str], tuple[str, ...]] = {}
        self.files = {str(name): [int(time), int(size)] for name, time, size in _triples(entries)}

    def site(self, settings: Any = None) -> Site:
        return Site(
            self.source,
            environment=os.environ.get("JEKYLL_ENV") or "development",
            epoch=epoch_of(dict(os.environ)),
            entries=self.entries,
            settings=settings,
        )

    def render(self, site: Site, page: Page) -> Rendered:
        engine = site.engine
        engine.start()
        html, _ = site.render(page)
        files = self.sets.get(names := frozenset(engine.used))
        if files is None:
            root = len(str(self.source)) + 1
            files = self.sets[names] = tuple(sorted(name[root:] for name in names))
        return Rendered(
            page.relative,
            page.destination(),
            html.encode("utf-8", "surrogatepass"),
            engine.listed,
            files,
            tuple(engine.reads),
        )

    # -- everything

    def all(self, last: State | None) -> tuple[JekyllReport, State]:
        """Render everything."""
        site = self.site()
        site.read_shared()
        candidates = site.candidates()
        threads = threading.active_count() > 1
        wanted = self.parallel if self.parallel is not None else len(candidates) >= WORTH_A_PROCESS
        if wanted and not threads and hasattr(os, "fork") and (self.parallel or (os.cpu_count() or 1) > 1):
            half = len(candidates) // 2
            helper = _Helper(self, site, candidates[half:])
            try:
                rendered = [self.render(site, page) for page in site.written_documents()]
                rendered += self.share(site, candidates[:half])
                theirs, copies = helper.rendered()
            except BaseException:
                helper.stop()
                raise
            site.files.update({name: Path(path) for name, path in copies.items()})
        else:
            helper, theirs = None, []
            rendered = [self.render(site, page) for page in site.written_documents()]
            rendered += self.share(site, candidates)
        everything = [*((r.relative, r.target) for r in rendered), *((r[0], r[1]) for r in theirs)]
        owners: dict[str, str] = {}
        for relative, target in everything:
            if target in owners:
                if helper is not None:
                    helper.stop()
                raise OutputError(f"{relative} and {owners[target]} both become {target}; rename one")
            owners[target] = relative
        copies = {name: str(path) for name, path in site.files.items() if name not in owners}
        try:
            check_names({*owners, *copies})
            written = self.write(rendered, copies, {*owners, *copies}, helper)
        except BaseException:
            if helper is not None:
                helper.stop()
            raise
        after = State(self.tool, _plain(site.config.own), self.files, copied=copies, due=site.due, entries=self.after)
        rows: list[Any] = [(r.relative, r.target, r.listed, r.used, r.reads) for r in rendered] + list(theirs)
        self.remember(after, site, rows)
        report = JekyllReport(
            len(owners),
            len(copies),
            written,
            {relative: "nothing is known of the last build" for relative, _ in everything}
            if last is None
            else {relative: "files came, went or the configuration changed" for relative, _ in everything},
        )
        after.words = _words(report)
        return report, after

    def share(self, site: Site, candidates: Iterable[str]) -> list[Rendered]:
        """Render the pages among some files."""
        rendered = []
        for relative in candidates:
            page = site.take(relative)
            if page is not None:
                rendered.append(self.render(site, page))
                page.forget()
        return rendered

    def write(
        self, rendered: list[Rendered], copies: dict[str, str], names: set[str], helper: _Helper | None
    ) -> Written:
        self.destination.mkdir(parents=True, exist_ok=True)
        with _locked(self.destination):
            before = self.ledger
            # Owned before they are written, so that a build that is killed leaves nothing that nobody owns.
            if names - before.keys() or not before:
                write_ledger(self.destination, {**{name: {} for name in names}, **before})
            writer = Writer(self.destination, before)
            if helper is not None:
                helper.write()
            after = {page.target: writer.page(page.target, page.data) for page in rendered}
            changed = 0
            for name, origin in copies.items():
                after[name] = writer.copy(name, origin)
            if helper is not None:
                theirs, changed = helper.written()
                after.update(theirs)
            removed = sum(writer.remove(name) for name in before.keys() - after.keys())
            write_ledger(self.destination, after)
            self.after = after
            self.outputs = quick.scan(str(self.destination))
        changed += writer.changed
        return Written(changed, len(after) - changed, removed)

    def remember(self, after: State, site: Site, rows: Iterable[Any]) -> None:
        """Put what pages read into a state."""
        used: dict[tuple[str, ...], int] = {tuple(names): number for number, names in enumerate(after.used)}
        reads: dict[state.Read, int] = {tuple(path): number for number, (path, _) in enumerate(after.reads)}
        for relative, target, listed, files, paths in rows:
            files = tuple(files)
            if files not in used:
                used[files] = len(after.used)
                after.used.append(list(files))
            numbers = []
            for path in paths:
                path = tuple(path)
                if path not in reads:
                    reads[path] = len(after.reads)
                    after.reads.append([list(path), state.data_mark(site.engine.data, path)])
                numbers.append(reads[path])
            after.made[relative] = (target, listed, used[files], numbers)

    # -- what changed

    def some(self, last: State) -> tuple[JekyllReport, State] | None:
        """Render what changed; None when everything has to be looked at."""
        if self.files.keys() != last.files.keys():
            return None
        changed = {name for name, what in self.files.items() if last.files[name] != what}
        reasons: dict[str, str] = {}
        copied = set(last.copied.values())
        prefix = str(self.source) + "/"
        data = False
        parts: set[str] = set()
        for name in sorted(changed):
            if name in last.made and not name.startswith("_") and "/_" not in name:
                reasons[name] = "its text changed"
            elif name.startswith("_data/"):
                data = True
            elif name.startswith(("_includes/", "_layouts/")):
                parts.add(name)
            elif prefix + name not in copied or "/_" in "/" + name:
                return None
        settings = last.settings
        if settings is None or any(key in settings for key in ("data_dir", "layouts_dir", "collections_dir")):
            return None
        if last.due is not None:
            return None
        site = self.site(settings)
        after = State(
            self.tool, settings, self.files, dict(last.made), last.copied, last.used, list(last.reads), None, last.words
        )
        site.read_shared()
        if data:
            stale: dict[int, str] = {}
            for number, (path, text) in enumerate(last.reads):
                new = state.data_mark(site.engine.data, tuple(path))
                if new != text:
                    stale[number] = "site.data" + "".join(f".{key}" for key in path if key != KEYS)
                    after.reads[number] = [path, new]
            if stale:
                for name, made in last.made.items():
                    hit = next((number for number in made[3] if number in stale), None)
                    if hit is not None:
                        reasons.setdefault(name, f"{stale[hit]} changed")
        if parts:
            sets = {n: next(p for p in names if p in parts) for n, names in enumerate(last.used) if parts & set(names)}
            for name, made in last.made.items():
                if made[2] in sets:
                    reasons.setdefault(name, f"{sets[made[2]]} changed")
        if any(prefix + name in copied or name in last.made for name in changed):
            for name, made in last.made.items():
                if made[1]:
                    reasons.setdefault(name, "it lists other pages, and one changed")
        pages: list[Page] = []
        documents = {page.relative: page for page in site.written_documents()}
        for name in reasons:
            page = documents.get(name) or site.take(name)
            if page is None or page.destination() != last.made[name][0]:
                return None
            pages.append(page)
        if {name for name in changed if prefix + name in copied and site.take(name) is not None}:
            return None
        rendered = [self.render(site, page) for page in pages]
        copies = {target: path for target, path in last.copied.items() if path.removeprefix(prefix) in changed}
        entries = dict(self.ledger)
        with _locked(self.destination):
            writer = Writer(self.destination, self.ledger)
            for result in rendered:
                entries[result.target] = writer.page(result.target, result.data)
            for name, origin in copies.items():
                entries[name] = writer.copy(name, origin)
            if entries != self.ledger:
                write_ledger(self.destination, entries)
            self.outputs = quick.scan(str(self.destination))
            if self.mend(writer, entries, last, site):
                write_ledger(self.destination, entries)
                self.outputs = quick.scan(str(self.destination))
        after.entries = entries
        self.remember(after, site, [(r.relative, r.target, r.listed, r.used, r.reads) for r in rendered])
        written = Written(writer.changed, len(entries) - writer.changed, 0)
        report = JekyllReport(len(after.made), len(after.copied), written, reasons)
        after.words = _words(report)
        return report, after

    def mend(self, writer: Writer, entries: dict[str, Entry], last: State, site: Site) -> bool:
        """Write again what somebody else changed or removed in the destination; whether anything was."""
        there = {name: [size, time] for name, time, size in _triples(self.outputs)}
        wrong = [name for name, entry in entries.items() if entry.get("stamp") != there.get(name)]
        pages = {row[0]: name for name, row in last.made.items()} if wrong else {}
        documents = {page.relative: page for page in site.written_documents()} if wrong else {}
        for target in wrong:
            if target in last.copied:
                entries[target] = writer.copy(target, last.copied[target])
            elif target in pages:
                page = documents.get(pages[target]) or site.take(pages[target])
                if page is not None:
                    entries[target] = writer.page(target, self.render(site, page).data)
        return bool(wrong)


class _Helper:
    """A second process that renders a share of the pages, waits, and writes them.

    Args:
        build: The build.
        site: What both processes have read.
        candidates: Its share.
    """

    def __init__(self, build: _Build, site: Site, candidates: list[str]) -> None:
        results, self._to_parent = os.pipe()
        self._from_parent, orders = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                os.close(results)
                os.close(orders)
                self._work(build, site, candidates)
                status = 0
            finally:
                # Nothing of the parent's is to be flushed or closed a second time.
                os._exit(status)
        os.close(self._to_parent)
        os.close(self._from_parent)
        self._results = os.fdopen(results, "rb")
        self._orders = orders
        self._done = False

    def _work(self, build: _Build, site: Site, candidates: list[str]) -> None:
        out = os.fdopen(self._to_parent, "wb")
        try:
            rendered = build.share(site, candidates)
            rows = [(r.relative, r.target, r.listed, r.used, r.reads) for r in rendered]
            taken = set(candidates)
            copies = {name: str(path) for name, path in site.files.items() if name in taken}
            marshal.dump(("rendered", rows, copies), out)
            out.flush()
            if os.read(self._from_parent, 1) != b"w":
                return
            writer = Writer(build.destination, build.ledger)
            entries = {r.target: writer.page(r.target, r.data) for r in rendered}
            marshal.dump(("written", entries, writer.changed), out)
        except SiteError as wrong:
            path = None if wrong.path is None else str(wrong.path)
            marshal.dump(("error", type(wrong).__name__, wrong.message, path, wrong.line), out)
        except OSError as wrong:
            message = f"{wrong.filename or build.destination} cannot be written: {wrong.strerror or wrong}"
            marshal.dump(("error", "OutputError", message, None, None), out)
        out.flush()

    def _answer(self, kind: str) -> Any:
        try:
            answer = marshal.load(self._results)
        except (EOFError, ValueError):
            raise OutputError("the second process ended early; there may be too little memory") from None
        if answer[0] == "error":
            _, name, message, path, line = answer
            raise _ERRORS.get(name, ContentError)(message, path=None if path is None else Path(path), line=line)
        assert answer[0] == kind
        return answer[1:]

    def rendered(self) -> tuple[list[Any], dict[str, str]]:
        """Wait for its pages: what each read, and its files to copy."""
        rows, copies = self._answer("rendered")
        return rows, copies

    def write(self) -> None:
        """Let it write."""
        os.write(self._orders, b"w")

    def written(self) -> tuple[dict[str, Entry], int]:
        """Wait until it has written: entries of the ledger, and how many changed."""
        entries, changed = self._answer("written")
        self.stop()
        return entries, changed

    def stop(self) -> None:
        """End it."""
        if not self._done:
            self._done = True
            os.close(self._orders)
            self._results.close()
            os.waitpid(self._pid, 0)


def _plain(value: Any) -> Any:
    """A configuration that JSON keeps as it is, or None."""
    try:
        return value if json.loads(json.dumps(value)) == value else None
    except (TypeError, ValueError):
        return None


def _words(report: JekyllReport) -> str:
    """What a build with nothing to do says."""
    return (
        f"site: {report.pages} pages and {report.files} files of a Jekyll companion in {{}}"
        f" (0 files written, {report.pages + report.files} unchanged, 0 removed)"
    )
