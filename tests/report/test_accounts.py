"""What `raysyn account` and `raysyn.account` tell of all runs on the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import raysyn
from raysyn.command import main
from raysyn.privacy.account import Account, Run, paid_line
from raysyn.privacy.admission import room
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, epsilon
from raysyn.privacy.sketch import Sketch
from raysyn.report import accounts
from raysyn.report.account_told import so_far
from raysyn.report.choices import chosen
from raysyn.runs.account_book import FileBook, beside
from raysyn.screen.accounts import AccountFlags

DELTA = 1e-5


def cost(noise: float, adjacency: str = ADD_REMOVE) -> Cost:
    return Cost(mechanism="m", noise_multiplier=noise, sampling_rate=1.0, steps=1, adjacency=adjacency)


def run(name: str, *noise: float, **more: Any) -> dict[str, Any]:
    return entered(name, *noise, **more).line()


def entered(name: str, *noise: float, first: int = 0, adjacency: str = ADD_REMOVE, **more: Any) -> Run:
    digests = [str(number).encode() for number in range(first, first + 40)]
    given: dict[str, Any] = {
        "run": name, "method": "dp_feta", "preset": "quick", "folder": f"/runs/{name}", "adjacency": adjacency,
        "time": "2026-03-04T05:06:07+00:00", "units": 1_497, "images": 1_497, "shape": (8, 8, 1),
        "guarantee": "dp" if noise else "none", "delta": DELTA if noise else None, "sketch": Sketch.of(digests, b"k"),
        "reserved": {f"s{at}": cost(one, adjacency) for at, one in enumerate(noise)},
    }  # fmt: skip
    return Run(**given | more)


TOTAL = {"total": 4.0, "delta": DELTA, "time": "2026-03-04T05:06:07+00:00", "was": None, "reason": None}


def kept(source: Path, *lines: Any) -> FileBook:
    book = beside(str(source))
    book.add(lambda _: lines)
    return book


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One run that has paid half, one that has not begun, on half of its images, and one without a guarantee."""
    source = tmp_path / "scans.parquet"
    kept(
        source, TOTAL, run("a" * 16, 5.0, 6.0), paid_line("a" * 16, "s0", cost(5.0), "t"),
        run("b" * 16, 9.0, first=20, chosen_among="12 runs of a leaderboard", looks=("accuracy on real images",)),
        run("c" * 16, first=90, looks=("one look, with a comma", "another")),
        TOTAL | {"total": 9.0, "was": 4.0, "reason": "a second study"},
    )  # fmt: skip
    return source


def test_all_runs_are_told_with_what_they_come_to(source: Path) -> None:
    found = raysyn.account(str(source))
    assert json.loads(json.dumps(found)) == found
    first, second, third = found["runs"]
    assert (first["paid"], first["reserved"], second["reserved"]) == (["s0"], ["s1"], ["s0"])
    assert first["epsilon"] == first["epsilon_so_far"] == epsilon([cost(5.0), cost(6.0)], DELTA, "prv")
    every = epsilon([cost(5.0), cost(6.0), cost(9.0)], DELTA, "prv")
    assert second["epsilon_so_far"] == every and second["epsilon"] == epsilon([cost(9.0)], DELTA, "prv")
    assert second["in_earlier_runs"] == {"a" * 16: 0.5} and third["in_earlier_runs"] == {"a" * 16: 0, "b" * 16: 0}
    (together,) = found["together"]
    assert together["spent"] == epsilon([cost(5.0)], DELTA, "prv") and together["with_reserved"] == every
    assert together["total"] == 9.0 and 9.0 - every <= together["left"] <= 9.0 and found["without_guarantee"] == 1
    assert [one["total"] for one in found["totals"]] == [4.0, 9.0]
    assert raysyn.account(str(source), delta=1e-9)["together"][0]["spent"] > together["spent"]
    # The file itself, whatever it is called.
    named = source.with_name("kept")
    beside(str(source)).path.rename(named)
    assert raysyn.account(str(named))["runs"] == found["runs"]


def test_the_command_prints_a_table_and_sentences(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = beside(str(source)).path.read_bytes()
    assert main(["account", str(source), "--delta", "1e-5"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for said in (
        "partly paid", "│ reserved │ 50 % in aaaaaaaa", "│ none │", "to one of 1,497 images",
        "/runs/bbbbbbbbbbbbbbbb, chosen among 12 runs of a leaderboard; not paid for: accuracy on real images",
        "/runs/cccccccccccccccc; not paid for: one look, with a comma; another",
        "Together, of 2 runs for one image, by PRV:", "1 run of them was chosen by looking at others",
        "Of the total, ε 9 at δ 1e-5, there is room for a run of about",
        "Without a guarantee: 1", "ε 9 at δ 1e-5, before that 4: a second study", "stays reserved",
    ):  # fmt: skip
        assert said in told, said
    assert beside(str(source)).path.read_bytes() == content


def test_no_epsilon_and_no_delta_is_printed_smaller_and_no_room_larger_than_it_is(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spent, left = 1.33935, 0.337046
    found = accounts.told(str(source), 0.00076025)
    found["together"][0] |= {
        "spent": spent,
        "with_reserved": spent,
        "left": 0.3379,
        "total": 1.7,
        "total_delta": 1.001e-5,
    }
    found["runs"][0] |= {"epsilon": left, "epsilon_so_far": spent}
    accounts.show(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "ε at δ 0.000761" in said and "0.3371" in said and "1.34" in said and "1.339" not in said
    assert "ε 1.34 spent, 1.34 with what is reserved, at δ 0.000761" in said
    assert "ε 1.7 at δ 1.01e-5, there is room for a run of about ε 0.337." in said
    account = Account(id="", key=b"k", runs={"a": entered("a", 5.0), "b": entered("b")})
    monkeypatch.setattr(Account, "together", lambda *_: spent)
    assert "together ε 1.34 at δ 0.000761" in so_far(account, entered("new", delta=0.00076025), AccountFlags())
    assert room(0.3379, 1.0).endswith("about 0.337") and room(12.39, 20.0).endswith("about 12.3")


def test_words_of_any_length_are_shortened_on_the_console_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "why " * 200
    kept(tmp_path / "s", TOTAL | {"reason": long}, run("a", 5.0, chosen_among=long, looks=(long, "short")))
    assert main(["account", str(tmp_path / "s")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert 3 * 40 < told.count("why") < 3 * 51 and told.count("…") == 3 and "…; short" in told
    assert accounts.told(str(tmp_path / "s"))["runs"][0]["chosen_among"] == long


def test_images_and_persons_are_told_apart(tmp_path: Path) -> None:
    kept(tmp_path / "s", run("a", 5.0), run("b", 6.0, adjacency=ADD_REMOVE_PERSON))
    images, persons = accounts.told(str(tmp_path / "s"))["together"]
    assert (images["unit"], images["with_reserved"]) == ("image", epsilon([cost(5.0)], DELTA, "prv"))
    assert (persons["unit"], persons["with_reserved"]) == ("person", epsilon([cost(6.0)], DELTA, "prv"))


def test_runs_without_a_guarantee_alone_have_no_epsilon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept(tmp_path / "s", run("a"))
    assert main(["account", str(tmp_path / "s")]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Without a guarantee: 1" in told and ": 1 run" in told and "1 runs" not in told
    assert accounts.told(str(tmp_path / "s"))["delta"] is None


def test_bad_input_is_refused_in_one_sentence(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = source.with_name("damaged")
    beside(str(damaged)).path.write_text("{}\n")
    for words, said in (
        ([], "account has no source"), (["--delta", "1"], "account has no source"),
        ([str(source), "--dleta", "1"], "account takes --delta NUMBER, but there is --dleta 1"),
        ([str(source), "--delta"], "account takes --delta NUMBER"), ([str(source), "--delta", "x"], "delta is 'x'"),
        ([str(source), "--delta=2"], "delta is 2.0"), ([str(source), "more"], "but there is more"),
        ([str(source) + "x"], "has no account"), ([""], "source='' is empty"), ([str(damaged)], "is damaged at line 1"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(["account", *words])
        lines = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and len(lines) == 1 and said in lines[0], words


def test_what_a_run_was_chosen_among_is_said_in_the_curators_words() -> None:
    assert chosen("12 runs") == "chosen among 12 runs, by accuracy on real images"
    assert chosen("2 runs of a leaderboard") == "chosen among 2 runs of a leaderboard, by accuracy on real images"
    for words in ("3 runs by attacks on them", "2 methods, the second after the first was read", "several"):
        assert chosen(words) == f"chosen among {words}"
