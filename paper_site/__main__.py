"""Command line for a built site: ``python -m paper_site check _site`` and ``python -m paper_site pdf _site``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m paper_site", description="Check or print a built companion site.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="links, anchors, media, HTML, other hosts, hashes of the audio", description="Check a built site."
    )
    check.add_argument("site", type=Path, help="folder of the site, such as _site")
    pdf = commands.add_parser("pdf", help="print pages with Chromium", description="Print pages of a built site.")
    pdf.add_argument("site", type=Path, help="folder of the site, such as _site")
    pdf.add_argument("page", nargs="*", default=["index.html"], help="pages inside it (default: index.html)")
    pdf.add_argument(
        "--output", type=Path, default=Path("pdf"), metavar="DIR", help="folder of the files (default: pdf)"
    )
    options = parser.parse_args(arguments)

    from paper_site.errors import SiteError

    try:
        return (
            _check(options.site) if options.command == "check" else _print(options.site, options.page, options.output)
        )
    except SiteError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2


def _check(site: Path) -> int:
    from paper_site.check import check_site

    problems = check_site(site)
    for problem in problems:
        print(problem)
    pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{site}: {pages} pages, {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


def _print(site: Path, pages: list[str], destination: Path) -> int:
    from paper_site.pdf import print_pages

    for path in print_pages(site, pages, destination):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
