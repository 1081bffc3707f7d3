"""Every relative link of a page leads to a file, and to a heading that is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snippets import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def headings(page: Path) -> set[str]:
    """Anchors, as GitHub makes them of headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found: set[str] = set()
    for title in re.findall(r"^#+ (.*)$", text, re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in (x for x in links if not re.match(r"https?:", x)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


def test_it_can_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What is (not) here, `x`\n[a](#what-is-not-here-x)\n")
    test_links(page)
    for link in ("#what-is-here", "other.md", "page.md#no"):
        page.write_text(f"# What is not here\n[a]({link})\n")
        with pytest.raises(AssertionError):
            test_links(page)
