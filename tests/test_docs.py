"""README, docs and cards: short where they should be, and leading where they say.

That what they show to type is taken is tests/jobs/test_shown_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "raysyn/methods").glob("*/README.md")])
METHODS = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"leaderboard", "lira"}


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as links spell them: in small letters, without marks, with hyphens for spaces."""
    titles = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_in_it(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", without_code(page)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short_and_leads_to_every_page_and_card() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    linked = {ROOT / link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)}
    cards = {ROOT / "raysyn/methods" / name / "README.md" for name in METHODS}
    assert linked >= {*(ROOT / "docs").glob("*.md"), *cards, ROOT / "LICENSE", ROOT / "SECURITY.md"}


def test_the_site_names_every_page_once() -> None:
    """`make site` breaks off at others, and at links that lead nowhere; it needs a package that the suite has not."""
    listed = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_the_readmes_table_has_a_row_per_method() -> None:
    table = (ROOT / "README.md").read_text().partition("<!-- methods -->\n")[2].partition("<!-- /methods -->")[0]
    heading, rule, *rows = table.splitlines()
    assert "| guarantee |" in heading and set(rule) == set("|- ")
    assert sorted(re.findall(r"\w+", row)[0] for row in rows) == sorted(METHODS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_card_says_what_a_user_asks(name: str) -> None:
    text = (ROOT / "raysyn/methods" / name / "README.md").read_text()
    asked = ("**Paper.**", "**Guarantee.**", "**What it does.**", "## Commands", "## Presets", "## Figures to expect")
    places = [text.find(part) for part in (*asked, "## Where it departs from the paper")]
    assert -1 not in places and places == sorted(places)
