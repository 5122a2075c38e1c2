"""The hashes of a whole site: one line for every file, and one hash over all of them.

``SHA256SUMS`` lists every file but itself, in the form that ``sha256sum -c`` reads, sorted by path as bytes. The tree
hash is the SHA-256 of those of its lines whose files do not print it; ``tree.json`` says which these are. Files whose
names begin with a dot are no part of the site.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from paper_site.output import Rendered

SUMS = "SHA256SUMS"
TREE = "tree.json"
PLACEHOLDER = f"{'tree-hash-':0<64}"
"""Stands in a page where the tree hash is to be printed, until it is known."""


def sum_lines(digests: Mapping[str, str]) -> list[str]:
    r"""Lines of ``SHA256SUMS`` for paths and their digests.

    >>> sum_lines({"b.txt": "0f", "B.txt": "0e"})
    ['0e  B.txt\n', '0f  b.txt\n']
    """
    return [f"{digests[path]}  {path}\n" for path in sorted(digests, key=str.encode)]


def tree_hash(digests: Mapping[str, str]) -> str:
    """The one hash over files: SHA-256 of their lines in ``SHA256SUMS``."""
    return hashlib.sha256("".join(sum_lines(digests)).encode()).hexdigest()


def seal(made: Mapping[str, Rendered], printing: Sequence[str], copied: Mapping[str, str]) -> dict[str, Rendered]:
    """Print the tree hash where it is asked for, and make the two files of hashes.

    Args:
        made: Path inside the site -> everything that is made.
        printing: Paths of the pages that print the tree hash.
        copied: Path inside the site -> SHA-256 of everything that is copied.

    Returns:
        What is made with the tree hash in place, ``tree.json`` and ``SHA256SUMS``.
    """
    mark = PLACEHOLDER.encode()
    open_pages = {path: data for path in printing if path in made and mark in (data := made[path].read())}
    digests = {path: digest for path, digest in copied.items() if path not in made}
    digests |= {path: page.sha256 for path, page in made.items() if path not in open_pages}
    tree = tree_hash(digests)
    without = sorted([*open_pages, TREE])
    facts = {"schema_version": 1, "tree_sha256": tree, "files": len(digests), "without": without}
    sealed = dict(made)
    for path, data in open_pages.items():
        sealed[path] = Rendered.of(data.replace(mark, tree.encode()))
    sealed[TREE] = Rendered.of((json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    digests |= {path: sealed[path].sha256 for path in without}
    sealed[SUMS] = Rendered.of("".join(sum_lines(digests)).encode())
    return sealed


def read_sums(text: str) -> dict[str, str]:
    """Read the lines of ``SHA256SUMS``: path -> digest.

    Raises:
        ValueError: For a line of another form.
    """
    found = {}
    for line in text.splitlines():
        digest, gap, path = line[:64], line[64:66], line[66:]
        if len(digest) != 64 or gap != "  " or not path:
            raise ValueError(f"the line {line[:80]!r} is no digest with a path")
        found[path] = digest
    return found


def check_sums(root: Path) -> list[tuple[str, str]]:
    """Hold a built site against its hashes; returns (path, what is wrong) for every fault."""
    problems: list[tuple[str, str]] = []
    try:
        listed = read_sums((root / SUMS).read_text(encoding="utf-8"))
        facts = json.loads((root / TREE).read_text(encoding="utf-8"))
        without, stated = list(facts["without"]), str(facts["tree_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        return [(SUMS, f"the hashes of the site cannot be read ({wrong})")]
    there = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    there.pop(SUMS, None)
    for name, path in sorted(there.items()):
        if name not in listed:
            problems.append((name, f"{SUMS} does not list this file"))
        elif hashlib.sha256(path.read_bytes()).hexdigest() != listed[name]:
            problems.append((name, f"the bytes are not those that {SUMS} names"))
    problems += [(name, f"{SUMS} lists this file and it is missing") for name in sorted(listed.keys() - there.keys())]
    tree = tree_hash({name: digest for name, digest in listed.items() if name not in without})
    if tree != stated:
        problems.append((TREE, f"the tree hash is {tree}, not {stated}"))
    for name in without:
        if name in there and name != TREE and tree not in there[name].read_text(encoding="utf-8", errors="replace"):
            problems.append((name, "the page does not print the tree hash"))
    return problems
