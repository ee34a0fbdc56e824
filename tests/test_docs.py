"""What is not executed is not documentation: every python block of README.md and docs/ runs, page by page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- skip: (?P<skip>.+?) -->\s*\n)?^```python[^\n]*\n(?P<code>.*?)^```\s*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    code: str
    line: int
    skip: str | None


def blocks(text: str) -> list[Block]:
    """The python blocks of a page in order, with the line that their code starts on."""
    found = []
    for match in BLOCK.finditer(text):
        found.append(Block(match["code"], text.count("\n", 0, match.start("code")) + 1, match["skip"]))
    return found


def run(block: Block, page: str, namespace: dict) -> None:
    """Execute one block so that tracebacks name the page and the line."""
    exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page, tmp_path, monkeypatch, subtests):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for block in blocks(page.read_text()):
        with subtests.test(f"line {block.line}"):
            if block.skip:
                print(f"{page.name}:{block.line} skipped: {block.skip}")
                pytest.skip(f"{page.name}:{block.line}: {block.skip}")
            run(block, str(page), namespace)


def test_blocks_are_found_in_order_with_lines_and_reasons():
    text = "# T\n```python\na = 1\n```\n\n<!-- skip: needs a GPU -->\n```python\na = 2\n```\n```\nnot python\n```\n"
    assert blocks(text) == [Block("a = 1\n", 3, None), Block("a = 2\n", 8, "needs a GPU")]


def test_a_reason_belongs_to_the_block_directly_after_it():
    text = "<!-- skip: no -->\n\nwords\n\n```python\na = 1\n```\n"
    assert blocks(text) == [Block("a = 1\n", 6, None)]


def test_a_broken_block_fails_and_names_its_line():
    with pytest.raises(NameError) as caught:
        run(blocks("words\n\n```python\nmissing\n```\n")[0], "page.md", {})
    assert (Path(caught.traceback[-1].path).name, caught.traceback[-1].lineno + 1) == ("page.md", 4)


def test_later_blocks_see_earlier_names():
    namespace: dict = {}
    for block in blocks("```python\na = 1\n```\n```python\nb = a + 1\n```\n"):
        run(block, "page.md", namespace)
    assert namespace["b"] == 2
