"""Command line of the site builder's checker: ``python -m paper_site check _site``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m paper_site", description="Check a built companion site.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="links, anchors, media, HTML, other hosts, hashes of the audio", description="Check a built site."
    )
    check.add_argument("site", type=Path, help="folder of the site, such as _site")
    options = parser.parse_args(arguments)

    from paper_site.check import check_site
    from paper_site.errors import SiteError

    try:
        problems = check_site(options.site)
    except SiteError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return 2
    for problem in problems:
        print(problem)
    pages = sum(1 for _ in options.site.rglob("*.html"))
    print(f"{options.site}: {pages} pages, {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
