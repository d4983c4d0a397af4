"""README.md and docs/: every link leads somewhere, every option is explained in one place, and the pages are found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hrpc

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md")])

CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings: https://docs.github.com/get-started/writing-on-github (section links)."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The links of a page to files beside it and to headings."""
    return [link for link in LINK.findall(CODE.sub("", page.read_text())) if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_option_is_in_one_row_of_the_tables_of_options() -> None:
    rows = re.findall(r"^\| `(with_\w+)\(", (DOCS / "options.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [name for name in hrpc.__all__ if name.startswith("with_")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_table_tells_one_thing_twice(page: Path) -> None:
    for table in re.findall(r"^\|[-|]+\|\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE):
        told = [row.split("|")[1] for row in table.splitlines()]
        assert len(set(told)) == len(told)


def test_the_readme_names_the_few_options_that_one_begins_with_once_each() -> None:
    rows = re.findall(r"^\| `(with_\w+)\(", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert 0 < len(rows) <= 12
    assert len(set(rows)) == len(rows)


def test_every_option_that_any_page_names_exists() -> None:
    for page in PAGES:
        named = set(re.findall(r"(?:\bhrpc\.|(?<![\w.])(?<!def ))(with_\w+)\(", page.read_text()))
        assert named <= set(hrpc.__all__), page


def test_the_readme_links_every_page_of_docs() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    assert {str(page.relative_to(ROOT)) for page in DOCS.glob("*.md")} <= linked
    assert "docs/adr/README.md" in linked


def test_decisions_are_numbered_without_a_gap_and_listed_in_order() -> None:
    pages = sorted(path.name for path in (DOCS / "adr").glob("[0-9]*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))
    listed = re.findall(r"^\| \[(\d{4})\]\((.+?)\) \|", (DOCS / "adr/README.md").read_text(), re.MULTILINE)
    assert listed == [(name[:4], name) for name in pages]


def test_every_variable_of_ours_that_the_package_reads_is_explained() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "hrpc").rglob("*.py"))
    read = set(re.findall(r"\"((?:HRPC|CONFIGS|CONSUL|POD|KUBERNETES|GRPC)_[A-Z_]+)\"", sources))
    options = (DOCS / "options.md").read_text()
    assert [name for name in sorted(read) if f"`{name}`" not in options] == []


def test_every_test_that_a_page_names_exists() -> None:
    for page in PAGES:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text()):
            assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_every_row_of_what_hurts_users_names_a_test() -> None:
    text = (DOCS / "reliability.md").read_text().partition("## Longer tests")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ") and "#" in line]
    assert len(rows) >= 20
    assert [row for row in rows if "::test_" not in row] == []
