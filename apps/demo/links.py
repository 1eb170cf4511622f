"""Work on Markdown files: find relative links that lead nowhere. Knows files, no database."""

import re
from pathlib import Path
from urllib.parse import unquote

CODE = re.compile(r"^(```|~~~).*?^\1|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*\s*$", re.MULTILINE)
MARKED = re.compile(r"<a\s[^>]*?(?:id|name)=[\"']([^\"']+)")
OUTSIDE = re.compile(r"^([a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def links(page: Path) -> list[str]:
    """The relative links of a page, those in code left out."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(text) if not OUTSIDE.match(link)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, spelt and numbered as GitHub does it."""
    text = page.read_text(encoding="utf-8")
    found: set[str] = set(MARKED.findall(text))
    blocks_gone = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in HEADING.findall(blocks_gone):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        numbered, twin = name, 0
        while numbered in found:
            twin += 1
            numbered = f"{name}-{twin}"
        found.add(numbered)
    return found


def broken_links(page: Path) -> list[str]:
    """The links of a page that lead to no file or to no heading."""
    return [link for link in links(page) if not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    """Does the link's file exist and, if it is Markdown, the heading in it?"""
    path, _, anchor = unquote(link).partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor.lower() in anchors(target)
