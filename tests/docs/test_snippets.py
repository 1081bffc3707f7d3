"""What the runner of snippets takes for equal, what it refuses, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from snippets import ROOT, difference, run, snippets

PAGES = ("README.md", "docs/tutorial.md")


@pytest.mark.parametrize("expected, printed", [
    ("a 1.0 b\n", "a 1.0 b\n"), ("x 178.1\n", "x 178.2\n"), ("1,056,500\n", "1,056,470\n"),
    ("mAP 0.6...\n", "mAP 0.6489\n"), ("a ... z\n", "a lot of z\n"),
    ("a\n...\nz\n", "a\nb\nc\nz\n"), ("a\n...\nz\n", "a\nz\n"),
    ("x ... 5,000 y\n", "x 1 2 5,010 y\n"),
])
def test_equal(expected: str, printed: str) -> None:
    assert difference(expected, printed) is None


@pytest.mark.parametrize("expected, printed, why", [
    ("a 1.0 b\n", "a 1.0 c\n", "other text"), ("a\n", "a\nb\n", "other text"),
    ("1 found\n", "2 found\n", "2, not 1"), ("0.9971\n", "0.9571\n", "0.9571, not 0.9971"),
    ("1,056,500\n", "1,099,000\n", "1,099,000, not 1,056,500"),
    ("mAP 0.6...\n", "mAP 0.5489\n", "other text"), ("a ... z\n", "a\nz\n", "other text"),
])
def test_different(expected: str, printed: str, why: str) -> None:
    assert difference(expected, printed) == why


def page(tmp_path: Path, text: str) -> Path:
    (tmp_path / "page.md").write_text(text)
    return tmp_path / "page.md"


def test_blocks_run_in_one_folder_and_are_compared(tmp_path: Path) -> None:
    blocks = snippets(page(tmp_path, "a\n```json x.json\n{}\n```\nb\n```sh\ncat x.json\n```\n"
                                     "```output\n{}\n```\n```python\nprint(7)\n```\n"
                                     "```sh not run: a reason\nfalse\n```\n```\nfigure\n```\n"))
    assert [(b.where, b.kind, b.reason) for b in blocks] == [
        ("page.md:2", "json", None), ("page.md:6", "sh", None), ("page.md:12", "python", None),
        ("page.md:15", "sh", "a reason"), ("page.md:18", "", None)]
    assert [run(b, tmp_path) for b in blocks[:3]] == ["", "{}\n", "7\n"]


@pytest.mark.parametrize("text, why", [
    ("\n```sh\nfalse\necho no\n```\n", r"page.md:2: ends with 1"),
    ("\n```sh\nfalse | true\n```\n", r"page.md:2: ends with 1"),
    ("\n```sh\necho 1\n```\n```output\n2\n```\n", r"page.md:2: 1, not 2"),
    ("\n```ruby\nputs 1\n```\n", "a block of 'ruby'"),
    ("\n```sh later\nls\n```\n", "page.md:2"),
    ("\n```sh\nls\n", "a fence is not closed"),
])
def test_what_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        for block in snippets(page(tmp_path, text)):
            run(block, tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_a_figure_is_no_command(name: str) -> None:
    for block in snippets(ROOT / name):
        if not block.kind:
            assert not any(line.startswith(("falconet ", "make ", "pip ", "sudo ", "import "))
                           for line in block.text.splitlines()), block.where
