"""Pages from the cache where nothing that they read has changed, and the reasons where something has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from paper_site.cache import active, digest
from paper_site.output import Rendered
from paper_site.trace import NotPlainError, Token, inside, parts_of

if TYPE_CHECKING:
    from paper_site.pages import Page
    from paper_site.render import Renderer

_AT_MOST = 6


class Increment:
    """Renders the pages of one build, as few as possible.

    Args:
        renderer: Renders a page.
        tools: Digest of the code that makes pages and of its settings.
        name: Tells this site from others in the same cache.
    """

    def __init__(self, renderer: Renderer, tools: bytes, name: str) -> None:
        self.renderer = renderer
        self.tools = tools
        self.name = name
        self.reasons: dict[str, str] = {}
        self._before: Mapping[str, bytes] = active().get("parts", self._key("parts")) or {}
        self._now: dict[str, bytes] | None = None
        self._names: dict[int, str] = {}

    def _key(self, path: str) -> bytes:
        return digest(f"{self.name}\0{path}".encode())

    def page(self, page: Page) -> Rendered:
        """Take a page from the cache or render it.

        Raises:
            ContentError: For whatever is wrong in a template or a text.
        """
        key = self._key(page.path)
        try:
            given = {"builder": self.tools, **self.renderer.given(page)}
        except NotPlainError as wrong:
            return self._render(page, key, None, f"always: {wrong}")
        entry = active().get("page", key)
        if entry is None:
            return self._render(page, key, given, "nothing is remembered of it")
        if entry["given"] != given or not self._same_reads(entry["reads"]):
            return self._render(page, key, given, entry)
        if active().get_bytes("html", key) is None:
            return self._render(page, key, given, "the remembered page is gone")
        return Rendered(entry["sha256"], lambda: active().get_bytes("html", key) or self.renderer.render(page))

    def _same_reads(self, reads: Sequence[tuple[Token, bytes]]) -> bool:
        look = self.renderer.reads.look
        try:
            return all(look(token) == before for token, before in reads)
        except (NotPlainError, KeyError, TypeError):
            return False

    def _render(self, page: Page, key: bytes, given: Mapping[str, bytes] | None, why: Any) -> Rendered:
        data = self.renderer.render(page)
        found = hashlib.sha256(data).hexdigest()
        self.reasons[page.path] = why if isinstance(why, str) else "; ".join(self._why(page, why, given or {}))
        try:
            reads = self.renderer.reads.noted()
        except NotPlainError as wrong:
            self.reasons[page.path] += f"; always: {wrong}"
            given = None
        if given is not None:
            active().put("page", key, {"given": dict(given), "reads": reads, "sha256": found})
            active().put_bytes("html", key, data)
        return Rendered(found, lambda: data)

    def finish(self) -> None:
        """Keep what explains the next build, and drop what no page needs any more."""
        active().put("parts", self._key("parts"), self._parts())
        active().sweep()

    def _parts(self) -> dict[str, bytes]:
        if self._now is None:
            of = self.renderer.digester.of
            self._now = {}
            for name, value in parts_of(self.renderer.companion):
                self._now[name] = of(value)
                self._names[id(value)] = name
        return self._now

    @cached_property
    def _changed(self) -> dict[str, str]:
        """Every part that changed since the build before, and how."""
        now, before = self._parts(), self._before
        found = {name: "changed" if name in before else "is new" for name in now if before.get(name) != now[name]}
        return {**found, **dict.fromkeys(sorted(before.keys() - now.keys()), "is gone")}

    def _changed_in(self, value: Any) -> list[str]:
        changed, files, names = self._changed, set(), set()
        if not changed:
            return []
        for part in inside(value):
            if type(part).__name__ == "Collection":
                files.add(f"_data/{part.name}.yml")
            elif id(part) in self._names:
                names.add(self._names[id(part)])
        found = [f"{name} {how}" for name, how in changed.items() if name in names or name.split(": ")[0] in files]
        if len(found) > _AT_MOST:
            found = [*found[:_AT_MOST], f"and {len(found) - _AT_MOST} more"]
        return found

    def _why(self, page: Page, entry: Mapping[str, Any], given: Mapping[str, bytes]) -> Iterator[str]:
        before = entry["given"]
        said: set[str] = set()
        for name in [*given, *(name for name in before if name not in given)]:
            if before.get(name) == given.get(name):
                continue
            if name == "builder":
                yield "the builder, its settings or one of its packages changed"
                return
            if name == "text":
                yield f"the text {page.prose.path.name} changed" if page.prose else "its text is gone"
            elif name.startswith("data "):
                found = self._changed_in(page.context.get(name.removeprefix("data ")))
                fresh = [words for words in found if words not in said]
                said.update(found)
                yield from fresh or ([] if found else [f"its data {name.removeprefix('data ')!r} changed"])
            else:
                yield {"page": "its title, path or kind changed"}.get(name, f"the {name} changed")
        for token, digested in entry["reads"]:
            if self.renderer.reads.look(token) == digested:
                continue
            for words in self._why_read(token):
                if words not in said:
                    said.add(words)
                    yield words

    def _why_read(self, token: Token) -> list[str]:
        name, place = token
        if name == "template":
            return [f"the template {place[0]} changed"]
        if name == "paper":
            return [f"_data/site.yml: {place[0]} changed"]
        if name == "companion":
            return self._changed_in(getattr(self.renderer.companion, place[0], None)) or [f"{place[0]} changed"]
        what, path = place
        if path[:1] == ("data",) and len(path) > 1:
            inner = ".".join(str(step) for step in path[2:])
            return [f"_data/{path[1]}: {inner or 'its ' + ('keys' if what == 'keys' else 'contents')} changed"]
        return [f"_data/site.yml: {'.'.join(str(step) for step in path)} changed"]
