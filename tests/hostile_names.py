"""Names that strangers give: markup, formulas, templates, and characters that are not seen."""

from __future__ import annotations

__all__ = ["HOSTILE", "visible"]

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{7*7}}{% raise %}${7*7}",
    '=HYPERLINK("http://example.org")',
    "abc\u202egnp.exe",
    "nul\0nul\x1b[2J\r\nline",
    "x" * 10_000,
    "👩\u200d🚀 emoji 🎉",
    "שלום עולם (مرحبا) 1",
    "\ud800 half a pair",
    "</title></table></svg><!--",
)


def visible(name: str) -> str:
    """What a page shows of *name*, at least: its beginning, what is not seen escaped."""
    one_line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return one_line[:300]
