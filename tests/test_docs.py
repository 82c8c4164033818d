"""README, docs and cards: short where they should be, and leading where they say.

That what they show to type is taken is tests/jobs/test_shown_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raysyn.methods.catalogue import METHODS as METHODS_LISTED
from raysyn.methods.leaderboard.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "raysyn/methods").glob("*/README.md")])
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


def test_the_site_holds_every_file_that_a_page_leads_to() -> None:
    """`make site` builds of what it copies, and breaks off where a link leads beyond."""
    copied = re.search(r"tar cf - --exclude __pycache__ (.*) \\\n", (ROOT / "Makefile").read_text())
    assert copied
    there = {path for pattern in copied[1].split() for path in ROOT.glob(pattern)}
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#]+)", without_code(page)):
            target = (page.parent / link).resolve()
            assert re.match(r"https?://", link) or there & {target, *target.parents}, (page, link)


def test_the_readme_is_short_and_leads_to_every_page_and_card() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    linked = {ROOT / link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)}
    cards = {ROOT / "raysyn/methods" / name / "README.md" for name in METHODS}
    assert linked >= {*(ROOT / "docs").glob("*.md"), *cards, ROOT / "LICENSE", ROOT / "SECURITY.md"}


def test_results_lead_to_every_board() -> None:
    index = ROOT / "docs/results.md"
    linked = {index.parent / link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", index.read_text())}
    assert linked >= {*(ROOT / "docs/results").glob("*.md")}


def test_the_site_names_every_page_once() -> None:
    """`make site` breaks off at others, and at links that lead nowhere; it needs a package that the suite has not."""
    listed = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    assert sorted(listed) == sorted(str(page.relative_to(ROOT)) for page in PAGES)


def test_the_readmes_table_has_a_row_per_method() -> None:
    table = (ROOT / "README.md").read_text().partition("<!-- methods -->\n")[2].partition("<!-- /methods -->")[0]
    heading, rule, *rows = table.splitlines()
    assert "| guarantee |" in heading and set(rule) == set("|- ")
    assert sorted(re.findall(r"\w+", row)[0] for row in rows) == sorted(METHODS)


def test_how_many_methods_promise_something_is_counted() -> None:
    """In the table of methods, which begins with them, and where all are compared."""
    words = dict(enumerate("none one two three four five six seven eight nine ten eleven twelve thirteen".split()))
    dp, either = ([one.name for one in METHODS_LISTED if one.guarantee == kind] for kind in ("dp", "either"))
    text = (ROOT / "docs/which_method.md").read_text()
    order = re.findall(r"^\|[^|]*\| \[`(\w+)`\]", text, re.MULTILINE)
    assert sorted(order[: len(dp)]) == sorted(dp)
    assert f"Only the first {words[len(dp)]}, and `{either[0]} --model dpgan`, promise" in text and len(either) == 1
    compared = [one for one in METHODS_LISTED if one.name in PRESETS["quick"].methods]
    budgeted = sum(one.name in dp for one in compared)
    comment = f"# {words[budgeted]} methods with a guarantee, at {words[len(PRESETS['quick'].epsilons)]} budgets, and "
    comment += f"{words[len(compared) - budgeted]} without; {words[len(PRESETS['quick'].seeds)]} seeds"
    assert comment in (ROOT / "docs/leaderboard.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_figure_was_left_to_be_filled_in(page: Path) -> None:
    """M10, F1, FIGURES, TODO and the like stand for one until it is known; paper, storage and a norm are no such."""
    text = re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", without_code(page))
    found = re.findall(r"\b(?:FIGURES?|TODO|TBD|FIXME|XXX+|[A-Z]\d{1,2})\b", text)
    assert not set(found) - {"A4", "S3", "L2"}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_card_says_what_a_user_asks(name: str) -> None:
    text = (ROOT / "raysyn/methods" / name / "README.md").read_text()
    asked = ("**Paper.**", "**Guarantee.**", "**What it does.**", "## Commands", "## Presets", "## Figures to expect")
    places = [text.find(part) for part in (*asked, "## Where it departs from the paper")]
    assert -1 not in places and places == sorted(places)
