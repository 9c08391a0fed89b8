"""The pages say what the code says: citations and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("sample-repo/**/*.md")])
CITATION = re.compile(r"docs/(behaviour|decisions|architecture)\.md((?:[^§\n]{0,12}§\d+(?:\.\d+)*)+)")
HEADING = re.compile(r"^#{2,3} (\d+(?:\.\d+)*)[. ]", re.MULTILINE)
ITEM = re.compile(r"^(\d+)\. ")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def _sections(page: str) -> frozenset[str]:
    """The numbered headings, and the numbered items below each as ``<section>.<item>``."""
    sections, current = set(), ""
    for line in (ROOT / f"docs/{page}.md").read_text().splitlines():
        if heading := HEADING.match(line):
            current = heading[1]
            sections.add(current)
        elif item := ITEM.match(line):
            sections.add(f"{current}.{item[1]}")
    return frozenset(sections)


def _citations(path: Path) -> list[tuple[str, str]]:
    """(page, section) of every citation; one that goes on after a line break counts up to the break."""
    found = CITATION.findall(path.read_text())
    return [(page, section) for page, tail in found for section in re.findall(r"§(\d+(?:\.\d+)*)", tail)]


def test_every_cited_section_exists() -> None:
    sections = {page: _sections(page) for page in ("behaviour", "decisions", "architecture")}
    sources = [path for top in ("gitops_rollouts", "tests", "bench") for path in sorted((ROOT / top).rglob("*.py"))]
    missing = [
        f"{path.relative_to(ROOT)} cites docs/{page}.md §{section}"
        for path in sources
        if path != Path(__file__)
        for page, section in _citations(path)
        if section not in sections[page]
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("page", ["behaviour", "decisions", "architecture"])
def test_sections_count_up_without_gaps_or_repeats(page: str) -> None:
    numbers = [tuple(map(int, n.split("."))) for n in HEADING.findall((ROOT / f"docs/{page}.md").read_text())]
    assert numbers == sorted(set(numbers))
    tops = [number[0] for number in numbers if len(number) == 1]
    assert tops == list(range(tops[0], tops[0] + len(tops)))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_resolve(page: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    local = [target for target in targets if target and not re.match(r"[a-z]+:", target)]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing
