"""A hook of MkDocs: takes pages that are not below docs/ into the site, and mends their links.

On the site, docs/ is the top. Links to pages lead to these there; links to code have no page, and
become plain text. A link to a page or a picture that does not exist stays, and fails the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

#: Pages of the site outside of docs/, and what they show.
PAGES = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "README.md"),
    *("benchmarks/README.md", "benchmarks/results.svg", "collector-config/README.md"),
    *("dashboards/README.md", "dashboards/runbook.md"),
    *(f"dashboards/pictures/{path.name}" for path in (ROOT / "dashboards/pictures").glob("*.png")),
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add these pages."""
    for name in PAGES:
        if name != "README.md":  # the site has a first page of its own
            made = File.generated(config, name, content=(ROOT / name).read_bytes())
            files.append(made)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point the links of a page to where their targets are on the site."""
    here = page.file.src_uri
    outside = here in PAGES

    def mended(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if re.match(r"\w+:", target):
            return match[0]
        source = here if outside else f"docs/{here}"
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if place == "README.md":
            place = "docs/index.md"
        if place.startswith("docs/"):
            place = place.removeprefix("docs/")
        elif place not in PAGES and (ROOT / place).exists():
            return text  # code: it is in the repository
        return (
            f"{picture}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor})"
        )

    return _LINK.sub(mended, markdown)
