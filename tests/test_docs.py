"""README, docs and cards: short where they should be, and leading where they say.

That what they show to type is taken is tests/jobs/test_shown_commands.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raysyn.methods.catalogue import METHODS as METHODS_LISTED
from raysyn.methods.catalogue import TOOLS
from raysyn.methods.leaderboard.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "raysyn/methods").glob("*/README.md")])
METHODS = {one.name for one in METHODS_LISTED}


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
    lines = text.splitlines()
    # Beside the table of methods, which has a row for each.
    assert len(lines) - sum(line.startswith("| [`") for line in lines) <= 137
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


def test_which_methods_promise_something_is_said() -> None:
    """In the table of methods, which begins with them, and where all are compared: in words that hold of more."""
    dp, either = ([one.name for one in METHODS_LISTED if one.guarantee == kind] for kind in ("dp", "either"))
    text = (ROOT / "docs/which_method.md").read_text()
    order = re.findall(r"^\|[^|]*\| \[`(\w+)`\]", text, re.MULTILINE)
    assert sorted(order) == sorted(METHODS), "a row for each"
    assert sorted(order[: len(dp)]) == sorted(dp) and len(either) == 1
    assert f"Only those above `{order[len(dp)]}`, and `{either[0]} --model dpgan`, promise" in text
    compared, words = PRESETS["quick"], ("none", "one", "two", "three", "four")
    assert set(compared.methods) == METHODS
    comment = f"# all methods, those with a guarantee at {words[len(compared.epsilons)]} budgets; "
    assert f"{comment}{words[len(compared.seeds)]} seeds" in (ROOT / "docs/leaderboard.md").read_text()


def test_every_method_has_a_job_that_starts_it() -> None:
    """What `ray job submit` runs; none is there of a method that the catalogue does not have."""
    listed = [*METHODS_LISTED, *TOOLS]
    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} == {one.name for one in listed}
    for one in listed:
        job = (ROOT / f"jobs/{one.name}.py").read_text()
        assert f'main(["{one.name}", *sys.argv[1:]])' in job and f"python jobs/{one.name}.py" in job


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
