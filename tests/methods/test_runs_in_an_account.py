"""Runs on the same images, each entered in their account as it begins: kills, moves, halves, places, totals."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysyn.compute.doorway import Compute, Machines
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, Dataset, Images
from raysyn.data.streams import PublicConfig
from raysyn.methods import account, account_place, catalogue, ends, unpaid_looks
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.declared import Declared
from raysyn.methods.leaderboard import room
from raysyn.methods.machines import On
from raysyn.methods.method import Method, Prepared, refuse_inside, usually_uncharged
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy import admission
from raysyn.privacy import ledger as ledgers
from raysyn.privacy.account import Account
from raysyn.privacy.cost import ADD_REMOVE_PERSON, Cost, epsilon
from raysyn.privacy.ledger import Plan, Release
from raysyn.report import accounts, choices
from raysyn.report.account_told import BEHIND, LOST, OTHERWISE
from raysyn.runs import account_elsewhere, account_near, sealing
from raysyn.runs.account_book import FileBook, beside
from raysyn.runs.folder import RunFolder
from raysyn.runs.ownership import lock
from raysyn.runs.storage import without_password, write_atomically
from raysyn.screen.accounts import AccountFlags
from raysyn.screen.console import Console

COST = Cost(mechanism="query", noise_multiplier=5.0, sampling_rate=1.0, steps=1)
DELTA = 1e-3


@dataclass(frozen=True, kw_only=True)
class Config:
    data: DataConfig
    eval: EvalConfig = field(default_factory=lambda: EvalConfig(classifiers=()))
    chosen_among: str | None = None
    release: None = None


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Of a method that releases nothing."""

    data: DataConfig
    seed: int = 0


def dataset(first: int = 0, last: int = 40, persons: bool = False, own: bool = True, size: int = 8) -> Dataset:
    """Images from the first number to the last, all different."""
    pixels = np.zeros((last - first, size, size, 1), np.uint8)
    pixels[:, 0, 0, 0] = range(first, last)
    labels = np.arange(len(pixels)) % 2
    whose = np.arange(len(pixels)) // 2 if persons else None
    train = Images(pixels, labels, ("a", "b"), whose)
    return Dataset("made up", train, train.select(slice(0, 2)), None, own=own)


def plan(data: Dataset, *stages: str) -> Plan:
    price = COST if data.train.persons_N is None else replace(COST, adjacency=ADD_REMOVE_PERSON)
    return Plan(stages=dict.fromkeys(stages, price), delta=DELTA, accountant="rdp", epsilon_budget=10.0)


@dataclass(frozen=True)
class Place:
    """Where a data set lies, and its runs."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "scans"

    @property
    def book(self) -> FileBook:
        return beside(str(self.source))

    def begun(
        self, stack: ExitStack, out: str, data: Dataset | None = None, stages: tuple[str, ...] = ("one", "two"),
        text: io.StringIO | None = None, dry_run: bool = False, config: dict[str, Any] | None = None,
        connect: Callable[..., Any] | None = None, kind: type = Config, **flags: Any,
    ) -> Setting:  # fmt: skip
        """A run that is begun or continued; without stages it promises nothing."""
        data = dataset() if data is None else data
        command = SimpleNamespace(
            seal=False, track="none", preset="tiny", machines=On(), out=str(self.root / out), dry_run=dry_run,
            config=kind(**{"data": DataConfig(name=None, path=str(self.source)), **(config or {})}),
            account=AccountFlags(**flags),
        )  # fmt: skip
        priced = plan(data, *stages) if stages else None
        method = Method(name="m", prepare=lambda _: Prepared(dataset=data, plan=priced), run=lambda _: None)

        def here(_: Machines, storage: str, show: Any) -> nullcontext[Compute]:
            return nullcontext(Local(storage, show))

        return method.begin(command, Console(text or io.StringIO()), connect or here, stack)

    def made(self, out: str, *paid: str, **more: Any) -> dict[str, Any] | None:
        """What the certificate of a run would say once these stages are paid, or all; None where no account is kept."""
        with ExitStack() as stack:
            setting = self.begun(stack, out, **more)
            if not isinstance(setting, PrivateSetting):
                return None
            for stage in paid or setting.plan.stages:
                setting.ledger.pay(stage, Release(None, setting.plan.stages[stage]))
            return account.certified(setting.kept, setting.folder, setting.plan)

    def state(self) -> tuple[list[str], list[list[str]]]:
        """(folders of the runs, stages that each has paid)."""
        there = self.book.read()
        if there is None:
            return [], []
        return [Path(one.folder).name for one in there.runs.values()], [
            sorted(there.paid.get(one, {})) for one in there.runs
        ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/scans").mkdir()
    return Place(tmp_path / "home")


def test_runs_are_entered_once_and_the_certificate_tells_what_they_come_to(place: Place) -> None:
    first, again, second = place.made("a"), place.made("a"), place.made("b", stages=("one",))
    assert first == again and place.state() == (["a", "b"], [["one", "two"], ["one"]])
    assert first is not None and second is not None
    assert (first["runs"], first["epsilon"]) == (1, epsilon([COST] * 2, DELTA, "prv"))
    assert (second["runs"], second["epsilon"]) == (2, epsilon([COST] * 3, DELTA, "prv"))
    assert "held 2 runs with a guarantee, which together are" in second["sentence"]


@pytest.mark.parametrize("before", ["account", "ledger", "value"])
def test_a_kill_anywhere_around_a_payment_forgets_none_and_counts_none_twice(
    place: Place, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the account, before the ledger, or after both and before the value is handed on."""

    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        setting = place.begun(stack, "a")
        assert isinstance(setting, PrivateSetting)
        if before == "account":
            patch.setattr(FileBook, "add", kill)
        elif before == "ledger":
            patch.setattr(ledgers, "_append", kill)
        else:
            patch.setattr(setting.ledger, "_make_durable", kill)
        setting.ledger.pay("one", Release(None, COST))
    written = Path(place.root / "a/internal/ledger.jsonl").exists()
    assert place.state() == (["a"], [[] if before == "account" else ["one"]]) and written == (before == "value")
    # Whatever was paid by then, what was planned is counted.
    both = epsilon([COST] * 2, DELTA, "prv")
    assert accounts.told(str(place.source))["together"][0]["with_reserved"] == both
    told = place.made("a")
    assert told is not None and told["epsilon"] == both and place.state() == (["a"], [["one", "two"]])
    assert len(place.book.path.read_text().splitlines()) == 4


@pytest.mark.parametrize("at", ["admit", "note"])
def test_a_kill_around_the_entry_of_a_run_enters_it_once(place: Place, at: str) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if at == "note":
            patch.setattr(account, "write_atomically", kill)
        else:
            patch.setattr(FileBook, "add", kill)
        place.begun(stack, "a")
    assert place.state() == ((["a"], [[]]) if at == "note" else ([], []))
    told = place.made("a")
    assert told is not None and told["runs"] == 1 and place.state() == (["a"], [["one", "two"]])
    # Continued without, its certificate does not say that there was none.
    assert place.made("a", account="none") == {"sentence": LOST} and "lost or left out" in LOST


def test_machines_or_a_total_that_are_refused_leave_nothing_entered(place: Place) -> None:
    def refuse(*_: Any) -> Any:
        raise ValueError("on.address is 'auto', and nothing answers there")

    with ExitStack() as stack, pytest.raises(ValueError, match="nothing answers"):
        place.begun(stack, "a", connect=refuse)
    assert place.state() == ([], [])
    place.made("a", total=0.6, stages=("one",))
    for dry_run in (True, False):
        with ExitStack() as stack, pytest.raises(ValueError, match=r"budget\.total is 0\.6 at delta 0\.001"):
            place.begun(stack, "b", dry_run=dry_run)
    assert not (place.root / "b").exists() and place.state()[0] == ["a"]
    # It holds without being given again, and a run that is in goes on whatever is left by then.
    assert place.made("a", stages=("one",), total=0.01) is not None


def test_another_driver_that_spends_the_rest_meanwhile_has_this_one_refused(place: Place) -> None:
    """Both have looked, and found room."""
    place.made("first", total=1.0, stages=("one",), data=dataset())

    def meanwhile(_: Machines, storage: str, show: Any) -> nullcontext[Compute]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(account.admission, "_no_room", lambda *_: None)
            place.made("other", stages=("one", "two"))
        return nullcontext(Local(storage, show))

    there = place.book.read()
    assert there is not None
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError, match="total is 1 at"):
        patch.setattr(account, "look", lambda *_: None)
        place.begun(stack, "late", connect=meanwhile)
    assert place.state()[0] == ["first", "other"] and not (place.root / "late").exists()


def test_a_run_in_another_account_than_the_usual_one_speaks_for_itself_alone(place: Place) -> None:
    """As does one in the usual account that knows of it."""
    assert (place.made("a", total=9.0, stages=("one",)) or {})["runs"] == 1
    other = {"account": str(place.root / "other"), "reason": "a second study"}
    assert place.made("b", stages=("one",), **other) == {"sentence": LOST}
    assert place.made("a", stages=("one",)) == {"sentence": LOST}


def test_another_price_in_a_ledger_takes_no_reserved_one_s_place(place: Place) -> None:
    place.made("a", "one")
    ledger, before = place.root / "a/internal/ledger.jsonl", place.book.path.read_bytes()
    ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"noise_multiplier": 1e6}) + "\n")
    with pytest.raises(ValueError, match=r"ledger.jsonl has another price for one than was planned, so that it is dam"):
        place.made("a")
    assert place.book.path.read_bytes() == before


def test_no_account_is_kept_in_a_release(place: Place) -> None:
    """Images that are read from one have it beside them."""
    text, certificate = io.StringIO(), place.root / "certificate.json"
    for other in ("no certificate", "[]", '{"of": "a course"}'):
        certificate.write_text(other)
        assert (place.made("a") or {})["runs"] == 1
    place.book.path.unlink()
    certificate.write_text('{"made_by": {}}')
    assert place.made("b", text=text) is None
    told = " ".join(text.getvalue().split())
    assert "No account is kept, since it would lie in a release, and leave with it" in told
    assert not place.book.exists()


def test_a_run_folder_among_its_own_images_is_refused(place: Place) -> None:
    """Continued, the run would read its own files as images."""
    before = sorted(place.source.iterdir())
    for out in ("scans/run", "scans/cat/run"):
        with (
            ExitStack() as stack,
            pytest.raises(ValueError, match=r"^--out .* lies in .*scans, the images that the run"),
        ):
            place.begun(stack, out)
    assert sorted(place.source.iterdir()) == before


def test_a_folder_among_its_public_images_is_refused(tmp_path: Path) -> None:
    """They would be other ones as it goes on."""
    (tmp_path / "letters" / "a").mkdir(parents=True)
    config = SimpleNamespace(public=PublicConfig(path=("gone.parquet", str(tmp_path / "letters"))))
    for out in ("letters/run", "letters/a/run"):
        with pytest.raises(ValueError, match=r"^--out .* lies in .*letters, the public images that the run is made of"):
            refuse_inside(str(tmp_path / out), None, config)
    refuse_inside(str(tmp_path / "run"), None, config)
    (tmp_path / "letters/run/internal").mkdir(parents=True)
    (tmp_path / "letters/run/internal/run.json").touch()
    refuse_inside(str(tmp_path / "letters/run"), None, config)


def test_a_moved_data_set_takes_its_account_along_or_the_certificate_says_so(place: Place) -> None:
    place.made("a", "one")
    there = Place(place.root.with_name("there"))
    # With its account beside it, the run goes on as before.
    shutil.copytree(place.root, there.root)
    told = there.made("a")
    assert told is not None and told["runs"] == 1
    # Without: it is entered in a new one with all that it paid, but that no others are in that one says nothing.
    text = io.StringIO()
    place.book.path.rename(place.root / "forgotten")
    for _ in range(2):
        assert place.made("a", text=text) == {"sentence": LOST}
    assert place.state() == (["a"], [["one", "two"]]) and "covers this run alone" in LOST
    assert "WARNING: the account that this run was entered in is gone or left out" in text.getvalue()
    assert (place.made("b") or {})["runs"] == 2
    # Once it is back, all is well again.
    (place.root / "forgotten").replace(place.book.path)
    assert (place.made("a") or {})["runs"] == 1 and place.state() == (["a"], [["one", "two"]])


def test_an_account_that_was_brought_back_from_a_copy_gets_what_it_lacks(place: Place) -> None:
    place.made("a", "one")
    copy = place.book.path.read_bytes()
    place.made("a")
    place.made("b")
    place.book.path.write_bytes(copy)
    text = io.StringIO()
    for _ in range(2):
        assert place.made("a", text=text) == {"sentence": BEHIND} and place.state() == (["a"], [["one", "two"]])
    assert text.getvalue().count("was brought back from an older copy") == 1
    # This one was in it, and is not: others may have been as well.
    for _ in range(2):
        assert place.made("b") == {"sentence": LOST} and place.state()[0] == ["a", "b"]


def test_an_account_that_goes_while_a_run_works_lets_no_value_out(place: Place) -> None:
    with ExitStack() as stack:
        setting = place.begun(stack, "a")
        assert isinstance(setting, PrivateSetting)
        place.book.path.unlink()
        with pytest.raises(RuntimeError, match="is gone or lacks this run: bring it back"):
            setting.ledger.pay("one", Release(None, COST))
        assert setting.ledger.entries() == [] and not place.book.path.exists()


@pytest.mark.parametrize("away", ["none", "other.jsonl"])
@pytest.mark.parametrize("usual", ["total", "no total", "damaged"])
def test_the_usual_account_is_never_passed_by_in_silence_nor_its_total_without_a_reason(
    place: Place, away: str, usual: str
) -> None:
    place.made("a", stages=("one",), total=0.6 if usual == "total" else None)
    if usual == "damaged":
        place.book.path.write_text("{}\n")
    before, text = place.book.path.read_bytes(), io.StringIO()
    to = away if away == "none" else str(place.root / away)
    if usual != "no total":
        with pytest.raises(ValueError, match=r"which this run would pass by: .*--budget\.reason"):
            place.made("b", account=to)
        assert not (place.root / "b").exists() and place.book.path.read_bytes() == before
    for _ in range(2):
        place.made("b", account=to, reason=None if usual == "no total" else "a second study", text=text)
    assert text.getvalue().count("is left out: what this run costs") == 2
    if usual != "total":
        assert place.book.path.read_bytes() == before
        return
    # Its keeper finds it there, once.
    (passed,) = accounts.told(str(place.source))["passed_by"]
    assert (passed["reason"], Path(passed["folder"]).name) == ("a second study", "b")


def test_the_usual_account_by_another_name_is_the_usual_one(place: Place) -> None:
    place.made("a", total=3.0, stages=("one",))
    (place.root / "link").symlink_to(place.book.path)
    assert (place.made("b", account=str(place.root / "link")) or {})["runs"] == 2


def test_a_dry_run_tells_the_total_that_there_would_be_and_of_one_that_is_spent_that_nothing_is_left(
    place: Place,
) -> None:
    spent = epsilon([COST], DELTA, "prv")
    place.made("a", stages=("one",), total=spent * (1 + 1e-7))
    with pytest.raises(ValueError, match=r"it would be 0\.6872: nothing is left of it, raise the total by"):
        place.made("b", stages=("one",))
    held = accounts.told(str(place.source))["together"][0]
    assert 0 <= held["left"] < spent / 100 and accounts._together(held, DELTA).endswith("nothing is left.")
    text = io.StringIO()
    with ExitStack() as stack, pytest.raises(SystemExit):
        place.begun(stack, "b", stages=("one",), text=text, dry_run=True, new_total=4.0, reason="a second study")
    assert f"of a total of {spent:.6g}, which becomes 4 with it" in " ".join(text.getvalue().split())


@pytest.mark.parametrize("at", ["all.jsonl", "../elsewhere.jsonl"])
def test_who_names_no_account_is_told_of_the_one_that_earlier_runs_named(place: Place, at: str) -> None:
    named, note = (place.root / at).resolve(), place.root / "scans.accounts-elsewhere.txt"
    assert (place.made("a", account=str(named), total=0.6, stages=("one",)) or {})["runs"] == 1
    assert note.read_text().splitlines()[-1] == str(named) and note.stat().st_mode & 0o777 == 0o644
    written = note.read_bytes()
    # Also the run itself, which would be entered in another one, and a dry run.
    for out, flags in (("b", {}), ("a", {}), ("b", {"dry_run": True})):
        with pytest.raises(ValueError, match=rf"entered in {named}, as {note} says.*give --budget.account {named}"):
            place.made(out, **flags)
    with pytest.raises(ValueError, match=r"total is 0\.6 at delta"):
        place.made("b", account=str(named))
    with pytest.raises(ValueError, match=rf"no account: {place.book} does not exist; name {named}, where its runs are"):
        accounts.told(str(place.source))
    # A leaderboard asks before its first run.
    config = Config(data=DataConfig(name=None, path=str(place.source)))
    assert account_place.may_be_elsewhere(SimpleNamespace(config=config, account=AccountFlags()))
    assert not account_place.may_be_elsewhere(SimpleNamespace(config=config, account=AccountFlags(account="none")))
    assert not (place.root / "b").exists() and not place.book.exists() and note.read_bytes() == written
    # Whoever says where, may; both are known from then on, and what is left out is told.
    text = io.StringIO()
    assert (place.made("b", account=str(place.book), text=text) or {})["runs"] == 1
    assert place.made("c", account="none", text=text) is None
    assert (place.made("d", text=text) or {})["runs"] == 2
    said = " ".join(text.getvalue().split())
    assert said.count(f"WARNING: {named}, where runs on these images are entered, is left out") == 3
    assert place.made("e", account=str(place.root / "third")) == {"sentence": LOST}
    assert note.read_text().splitlines()[-2:] == [str(named), str(place.root / "third")]


@pytest.mark.parametrize(
    ("first", "second"),
    [("scans.csv", "scans"), ("scans", "scans.csv"), ("scans/scans.csv", "scans"), ("scans", "scans/scans.csv"),
     ("scans", "scans/train/scans.csv"), ("scans.csv", "others.npz")],
)  # fmt: skip
@pytest.mark.parametrize("named", [False, True])
def test_a_new_account_near_another_one_is_told_of_it(place: Place, first: str, second: str, named: bool) -> None:
    (place.root / "scans/train").mkdir()
    text, flags = io.StringIO(), {"account": str(place.root / "elsewhere/first")} if named else {}
    (place.root / "elsewhere").mkdir()

    def made(out: str, source: str, **flags: Any) -> None:
        data = {"data": DataConfig(name=None, path=str(place.root / source))}
        text.truncate(text.seek(0))
        place.made(out, text=text, config=data, **flags)

    def said() -> str:
        return " ".join(text.getvalue().split())

    made("a", first, **flags)
    assert "begins a new account" not in said()
    there = (place.root / "elsewhere/first" if named else beside(str(place.root / first)).path).resolve()
    with pytest.raises(ValueError, match=rf"has no account: .* does not exist; name {there}, if that is of the same"):
        accounts.told(str(place.root / second))
    new = beside(str(place.root / second))
    for out, more in (("b", {"dry_run": True}), ("b", {"account": str(place.root / "elsewhere/new")}), ("c", {})):
        if out == "c":
            account_elsewhere.note_of(new).unlink()
        with pytest.raises(SystemExit) if more.get("dry_run") else nullcontext():
            made(out, second, **more)
        begun = more.get("account", new)
        assert f"begins a new account, {begun}, in which no earlier run counts: if {there} is of the same" in said()
        assert f"as by --budget.account {there}" in said()
    # Once it is there, or where the other one is named, there is nothing to tell.
    made("d", second)
    made("e", second, account=str(there))
    assert "begins a new account" not in said()


@pytest.mark.parametrize(("now", "told"), [("scans2026", True), ("xrays", False)])
def test_of_images_that_were_renamed_the_account_before_is_told_again_and_again(
    place: Place, now: str, told: bool
) -> None:
    """It may have a total: the first run warns that it begins a new one, and would be the only one."""
    before, after, text = place.root / "scans", place.root / now, io.StringIO()

    def made(out: str, source: Path, **flags: Any) -> str:
        text.truncate(text.seek(0))
        place.made(out, text=text, config={"data": DataConfig(name=None, path=str(source))}, **flags)
        return " ".join(text.getvalue().split())

    made("a", before)
    old, renamed = (
        beside(str(before)).path.resolve(),
        "of some that are not there any more: if they are these, renamed",
    )
    before.rename(after)
    assert "begins a new account" in made("b", after)
    for out in ("c", "d"):
        said = made(out, after)
        assert (renamed in said) == (f"as by --budget.account {old}" in said) == told
    assert renamed not in made("e", after, account=str(old))
    shutil.copytree(after, before)
    assert renamed not in made("f", after), "both are there: they may be others"


@pytest.mark.parametrize(
    ("source", "likely"),
    [("scans.csv", "scans"), ("scans", "scans/labels.csv"), ("link/scans.csv", "scans"), ("link.csv", "link"),
     ("scans/other.csv", "scans"), ("deep/scans/a/b.csv", "deep/scans/a")],
)  # fmt: skip
def test_the_likeliest_of_the_accounts_nearby_is_named(place: Place, source: str, likely: str) -> None:
    """Of one name but for the ending, else in the folder, else of the nearest folder around; a link is looked beside,
    and beside what it leads to."""
    (place.root / "deep/scans/a").mkdir(parents=True)
    (place.root / "link").symlink_to(place.root)
    (place.root / "scans.csv").write_text("x")
    (place.root / "kept").mkdir()
    (place.root / "kept/real.csv").write_text("x")
    (place.root / "link.csv").symlink_to(place.root / "kept/real.csv")
    for one in ("a.csv", "m", "y.npz", "z", likely, "deep", "deep/scans"):
        if one != source:
            (place.root / f"{one}.account.jsonl").write_text("x")
    given, there = str(place.root / source), (place.root / f"{likely}.account.jsonl").resolve()
    found = account_near.near(beside(given), given)
    assert found.places[-1] == found.likeliest == str(there)
    with pytest.raises(ValueError, match=rf" {re.escape(str(there))}( and \d more)?, if that is of the same people"):
        accounts.told(given)


@pytest.mark.parametrize(("others", "named"), [(("a.csv",), True), (("a.csv", "m"), False), (("a.csv", "scans"), True)])
def test_of_several_that_merely_lie_beside_none_is_named(place: Place, others: tuple[str, ...], named: bool) -> None:
    (place.root / "scans.csv").write_text("x")
    for one in others:
        (place.root / f"{one}.account.jsonl").write_text("x")
    text = io.StringIO()
    place.made("a", text=text, config={"data": DataConfig(name=None, path=str(place.root / "scans.csv"))})
    said = " ".join(text.getvalue().split())
    likeliest = (place.root / f"{others[-1]}.account.jsonl").resolve()
    how = (
        f"one account for all, as by --budget.account {likeliest}" if named else "that one as --budget.account in each"
    )
    assert f"of the same people, name {how}" in said


def test_a_look_around_refuses_no_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose account could have no name, and one that must not be looked into."""
    long = place.root / ("x" * 250) / "scans"
    long.mkdir(parents=True)
    assert place.made("a", config={"data": DataConfig(name=None, path=str(long))})

    def denied(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "listdir", denied)
    assert account_near.near(beside(str(long)), str(long)) == ((), None)


def test_of_a_sealed_run_no_new_account_is_told(place: Place) -> None:
    place.made("a")
    (place.root / "other.csv.account.jsonl").write_text("x")
    place.book.path.rename(place.root / "moved")
    for sealed in (False, True):
        if sealed:
            run_json = place.root / "a/internal/run.json"
            run_json.write_text(json.dumps(json.loads(run_json.read_text()) | {"sealed": {"run": "x"}}))
        text = io.StringIO()
        with ExitStack() as stack, pytest.raises(SystemExit):
            place.begun(stack, "a", text=text, dry_run=True)
        assert ("begins a new account" in " ".join(text.getvalue().split())) != sealed


def test_a_note_of_accounts_is_never_followed_and_says_nothing_but_places(place: Place) -> None:
    note = place.root / "scans.accounts-elsewhere.txt"
    lines = [
        b"# a remark",
        b"a remark",
        b"\x1b[31m/red",
        b"/far\xff away; reboot",
        b"/" + bytes(5000).replace(b"\0", b"x"),
    ]
    note.write_bytes(b"\n".join([*lines, b"s3://far/away.jsonl", b""]))
    with pytest.raises(ValueError) as refused:
        place.made("a")
    told = r"entered in /far\ufffd away; reboot and s3://far/away\.jsonl, as .*account s3://far/away\.jsonl \(with"
    assert re.search(told, str(refused.value)) and len(str(refused.value)) < 1000
    assert not place.book.exists()
    # What would be pasted is one word, and of many some are named.
    note.write_text("".join(f"/a/{at}\n" for at in range(9)) + "/far away; reboot\n")
    with pytest.raises(
        ValueError, match=r"entered in /a/7 and /a/8 and /far away; reboot and 7 more, .*nt '/far away; r"
    ):
        place.made("a")
    # A beginning that ends within a line ends with the line before.
    note.write_text("/a/0\n" + "#" * (account_elsewhere.MOST - 8) + "\n/a/1\n")
    assert account_elsewhere.noted(place.book) == ("/a/0",)
    assert account_elsewhere.note(place.book, FileBook(place.root / "b")) is not None, "nothing of it is lost"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_is_no_note_names_nothing_is_shown_to_nobody_and_stays(place: Place, kind: str) -> None:
    """A link in a shared folder to what only its reader may read."""
    note, private = place.root / "scans.accounts-elsewhere.txt", place.root.parent / "private"
    private.write_text("/secret\n")
    if kind == "link":
        note.symlink_to(private)
    elif kind == "hard link":
        note.hardlink_to(private)
    elif kind == "pipe":
        os.mkfifo(note)
    else:
        note.mkdir()
    text = io.StringIO()
    assert (place.made("a", account=str(place.root / "all"), text=text) or {})["runs"] == 1
    assert "Nothing can be noted beside the images" in (said := " ".join(text.getvalue().split()))
    assert f"name {place.root}/all with --budget.account in every command" in said and "/secret" not in said
    assert (place.made("b", text=text) or {})["runs"] == 1 and "/secret" not in text.getvalue()
    assert private.read_text() == "/secret\n" and os.path.lexists(note)


def test_names_that_two_runs_write_at_once_are_both_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write, others = account_elsewhere.written_atomically, ["/other"]

    @contextmanager
    def late(path: Path) -> Iterator[Any]:
        with write(path) as file:
            yield file
        if others:  # who has read before this was written
            path.write_text(f"{others.pop()}\n")

    monkeypatch.setattr(account_elsewhere, "written_atomically", late)
    assert account_elsewhere.note(place.book, FileBook(place.root / "b")) is None
    assert account_elsewhere.noted(place.book) == ("/other", str(place.root / "b"))


def test_one_account_by_two_names_is_noted_once(place: Place) -> None:
    real = place.root / "all"
    (place.root / "link").symlink_to(real)
    real.touch()
    for at, name in enumerate(("all", "link", "../home/all")):
        text = io.StringIO()
        place.made(f"run{at}", account=str(place.root / name), text=text)
        assert "left out" not in text.getvalue()
    assert account_elsewhere.noted(place.book) == (str(real),)


def test_where_no_note_can_be_left_the_run_says_that_its_account_is_to_be_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    text = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(account_elsewhere, "written_atomically", full)
        place.made("a", account=str(place.root / "all"), text=text)
    said = " ".join(text.getvalue().split())
    assert "cannot be written (No space left on device)): name" in said and "in every command on them" in said
    monkeypatch.setattr(account_elsewhere, "why_no_note", lambda usual: "it is sealed")
    place.made("b", account=str(place.root / "all"), text=text)
    assert " ".join(text.getvalue().split()).count("(it is sealed): name") == 1


def test_a_run_that_has_paid_is_entered_whatever_there_is_room_for(place: Place) -> None:
    text = io.StringIO()
    place.made("x", account="none")
    place.made("y", "one", account="none")
    place.made("a", total=0.6, stages=("one",))
    assert (place.made("x", text=text) or {})["runs"] == len(place.state()[0])
    assert text.getvalue().count("has paid already, and is entered all the same") == 1
    # Of what is not paid yet there is something to refuse.
    with pytest.raises(ValueError, match=r"total is 0\.6 at"):
        place.made("y")
    assert place.state() == (["a", "x", "y"], [["one"], ["one", "two"], ["one"]])
    with pytest.raises(ValueError, match=r"total is 0\.6 at"):
        place.made("b")


def test_a_refusal_and_the_line_of_the_account_print_the_same_delta(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both rounded up."""
    monkeypatch.setitem(globals(), "DELTA", 8.471e-5)
    text = io.StringIO()
    place.made("x", account="none")
    place.made("a", total=0.9, stages=("one",))
    place.made("x", text=text)
    said = " ".join(text.getvalue().split())
    assert "budget.total is 0.9 at delta 8.48e-5, of" in said and re.search(r"together ε \S+ at δ 8\.48e-5,", said)


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("stages", [("one", "two"), ("one", "two", "three")])
def test_what_a_refused_run_has_paid_is_in_the_sum_and_the_rest_waits_for_room(
    place: Place, stages: tuple[str, ...], seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused as it is looked at, or as it is entered, since another run took the room meanwhile."""
    if not seen:
        monkeypatch.setattr(account, "look", lambda *_: None)
    place.made("y", "one", stages=stages, account="none")
    place.made("a", total=0.6, stages=("one",))
    if seen:
        with ExitStack() as stack, pytest.raises(ValueError, match=r"total is 0\.6 at"):
            place.begun(stack, "y", stages=stages, dry_run=True)
        assert place.state() == (["a"], [["one"]]), "a dry run writes nothing"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"total is 0\.6 at"):
            place.made("y", stages=stages)
        assert place.state() == (["a", "y"], [["one"], ["one"]])
        (sums,) = accounts.told(str(place.source))["together"]
        assert sums["spent"] == sums["with_reserved"] == epsilon([COST] * 2, DELTA, "prv")
    told = place.made("y", stages=stages, new_total=5.0, reason="room")
    assert told is not None and told["epsilon"] == epsilon([COST] * (1 + len(stages)), DELTA, "prv")
    assert place.state() == (["a", "y"], [["one"], sorted(stages)])
    assert [one.total for one in (place.book.read() or Account(id="", key=b"")).totals] == [0.6, 5.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": dataset(40, 80)},
        {"stages": ("one", "two", "three")},
        {"stages": ("other",)},
        {"stages": (), "total": 9.0},
    ],
    ids=["images", "more stages", "other stages", "no guarantee"],
)
@pytest.mark.parametrize("paid", [("one",), ("one", "two")])
def test_a_command_with_the_folder_of_another_run_enters_nothing(
    place: Place, paid: tuple[str, ...], wrong: dict[str, Any]
) -> None:
    """Whatever there is room for: what lies there was not spent on these people, or is another run's."""
    place.made("theirs", *paid, account="none")
    place.made("mine", stages=("one",), total=0.6)
    before = place.book.path.read_bytes()
    with pytest.raises(ValueError, match=r"--out .* holds a run (on|with) .*choose another --out"):
        place.made("theirs", **wrong)
    assert place.book.path.read_bytes() == before


@pytest.mark.parametrize("wrong", [{"data": dataset(40, 80)}, {"config": {"eval": None}, "stages": ("one", "more")}])
@pytest.mark.parametrize("state", ["paid", "entered", "sealed"])
def test_a_dry_run_with_the_folder_of_another_run_is_refused_by_the_total_all_the_same(
    place: Place, state: str, wrong: dict[str, Any]
) -> None:
    """Neither what lies there, nor what the account holds of it, is this run's."""
    place.made("theirs", **({} if state == "entered" else {"account": "none"}))
    if state == "sealed":
        with RunFolder(place.root / "theirs", "tiny", lock(place.root / "theirs"), time.process_time, None) as folder:
            write_atomically(folder.report_json, "{}")
            sealing.seal(folder, {})
    place.made("mine", stages=("one",), total=0.9 if state == "entered" else 0.6)
    text = io.StringIO()
    for out in ("theirs", "new"):
        with ExitStack() as stack, pytest.raises(ValueError, match=r"budget\.total is 0\.\d at delta 0\.001"):
            place.begun(stack, out, text=text, dry_run=True, **wrong)
    assert "paid already" not in text.getvalue()
    # The run itself is refused for its folder.
    with pytest.raises(ValueError, match=r"--out .* holds a run (on|with) .*choose another --out"):
        place.made("theirs", text=text, **wrong)
    assert "paid already" not in text.getvalue()


@pytest.mark.parametrize("paid", [{"other": COST}, {"one": replace(COST, steps=2)}, {"one": COST, "other": COST}])
@pytest.mark.parametrize("guarantee", ["dp", "none"])
def test_what_is_no_part_of_a_plan_is_not_entered_as_spent(paid: dict[str, Cost], guarantee: str) -> None:
    config = SimpleNamespace(config=Config(data=DataConfig()), preset="tiny", out="a", account=AccountFlags())
    priced = plan(dataset(), "one", "two") if guarantee == "dp" else None
    run = account.as_entered("r", config, "m", (), dataset(), priced, b"")
    there = Account(id="", key=b"")
    assert admission.spent(there, run, paid) == []
    assert bool(admission.spent(there, run, {"one": COST})) == (guarantee == "dp")


@pytest.mark.parametrize("at", ["note", "flushed", "answer lost", "unreachable"])
def test_a_run_that_is_entered_and_fails_is_taken_up_and_leaves_no_room_lost(
    place: Place, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failures after the account holds the run: of its note, of a flush, of the store's answer, of all that follows."""
    add = FileBook.add

    def failed(self: FileBook, *given: Any, **more: Any) -> Account:
        add(self, *given, **more)
        if at == "unreachable":
            patch.setattr(FileBook, "read", lambda _: failing())
        failing()
        raise AssertionError

    def failing(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device") if at in ("note", "flushed") else ValueError("cannot be reached")

    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch, pytest.raises((OSError, ValueError)) as error:
        if at == "note":
            patch.setattr(account, "write_atomically", failing)
        else:
            patch.setattr(FileBook, "add", failed)
        place.begun(stack, "a", total=2.0)
    if at == "note":
        assert "the same command takes up what is reserved" in str(error.value)
    assert place.state() == (["a"], [[]])
    told = place.made("a", total=2.0)
    assert told is not None and told["runs"] == 1 and place.state() == (["a"], [["one", "two"]])


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_an_older_copy_is_told_by_what_the_ledger_of_a_run_holds(place: Place, lines: int) -> None:
    """A copy that was taken when the account held so many lines after its head, of four that it came to."""
    text = io.StringIO()
    place.made("b", stages=("one",))
    place.made("a")
    newest = place.book.path.read_bytes()
    place.book.path.write_bytes(b"".join(newest.splitlines(keepends=True)[: 2 + lines]))
    told = place.made("a", text=text)
    assert told == {"sentence": LOST if lines == 1 else BEHIND}
    assert text.getvalue().count("was brought back from an older copy, which lacks what this run has paid") == 1
    assert place.state() == (["b", "a"], [["one"], ["one", "two"]])
    # No other run's certificate says more than is known.
    assert place.made("c") == {"sentence": BEHIND} and place.made("b", stages=("one",)) == {"sentence": BEHIND}
    found = accounts.told(str(place.source))
    assert [one["behind"] for one in found["behind"]] == [found["runs"][1]["run"]]
    # The newest one is right again.
    place.book.path.write_bytes(newest)
    assert (place.made("a") or {})["runs"] == 2


@pytest.mark.parametrize("paid", [(), ("one",), ("one", "two")])
def test_an_older_copy_is_told_of_by_a_run_that_is_refused_too(place: Place, paid: tuple[str, ...]) -> None:
    """A copy that holds another run alone: what is entered of this one hides that others may be missing."""
    stages = ("one", "two", "three")
    place.made("b", stages=("one",))
    copy = place.book.path.read_bytes()
    with ExitStack() as stack:
        setting = place.begun(stack, "a", stages=stages)
        assert isinstance(setting, PrivateSetting)
        for stage in paid:
            setting.ledger.pay(stage, Release(None, COST))
    place.book.path.write_bytes(copy)
    place.made("c", stages=("one",), total=0.8)
    for _ in range(2):
        text = io.StringIO()
        with pytest.raises(ValueError, match=r"total is 0\.8 at"):
            place.made("a", stages=stages, text=text)
        assert len((place.book.read() or Account(id="", key=b"")).gaps) == 1
    assert ("from an older copy" in " ".join(text.getvalue().split())) == (not paid)
    place.made("a", stages=stages, new_total=9.0, reason="room")
    assert len((place.book.read() or Account(id="", key=b"")).gaps) == 1
    assert place.made("d", stages=("one",)) == {"sentence": BEHIND}


@pytest.mark.parametrize("copy", ["newest", "older"])
@pytest.mark.parametrize("away", ["none", "other.jsonl"])
def test_what_is_paid_elsewhere_is_not_taken_for_a_gap(place: Place, away: str, copy: str) -> None:
    place.made("a", "one")
    newest = place.book.path.read_bytes()
    for stage in ("one", "two"):
        to = away if away == "none" else str(place.root / away)
        assert place.made("a", stage, account=to) == {"sentence": LOST}
    if copy == "older":
        place.book.path.write_bytes(b"".join(newest.splitlines(keepends=True)[:2]))
    for _ in range(2):
        assert place.made("a") == {"sentence": BEHIND} if copy == "older" else (place.made("a") or {})["runs"] == 1
    assert place.state() == (["a"], [["one", "two"]])


@pytest.mark.parametrize("name", [one.name for one in catalogue.METHODS])
def test_the_account_holds_what_the_certificate_lists_as_uncharged(name: str) -> None:
    """One function of the method says both, with everything that a preset may look at turned on."""
    entry = catalogue.find(name)
    method = entry.method()
    assert method.uncharged is getattr(inspect.getmodule(method.run), "uncharged", usually_uncharged)
    for config in entry.presets().values():
        config = replace(config, chosen_among="9 runs", tuned_on="digits", release=replace(config.release))
        looks, listed = method.looks(config), method.uncharged(config)
        assert set(choices.tuned("digits")) <= set(looks) and choices.chosen("9 runs") in listed
        assert set(listed) - set(looks) == {choices.chosen("9 runs")}
        if method.uncharged in (
            ends.uncharged,
            usually_uncharged,
        ):  # somebody else's method, with the usual settings and the usual end
            plain = Method(name="m", prepare=method.prepare, run=method.run)
            assert list(plain.uncharged(config)) == ends.uncharged(config)
        assert (unpaid_looks.ALWAYS_LOOKS in looks) == bool(getattr(getattr(config, "eval", None), "classifiers", ()))


@dataclass(frozen=True, kw_only=True)
class OwnEval:
    """Settings of somebody else's judges."""

    bins: int = 3


@dataclass(frozen=True)
class OwnExperiment:
    sizes: int


@dataclass(frozen=True)
class UsualExperiment:
    sizes: int = 3


@dataclass(frozen=True, kw_only=True)
class OwnConfig(Declared):
    data: DataConfig | None = None
    eval: Any = field(default_factory=OwnEval)
    experiment: Any = None


@pytest.mark.parametrize("judges", [OwnEval(), None, EvalConfig(), EvalConfig(classifiers=())])
@pytest.mark.parametrize(
    ("experiment", "asks"),
    [(None, 0), (OwnExperiment(4), 1), (UsualExperiment(), 0), (UsualExperiment(4), 1), ({}, 0), ({"sizes": 4}, 1),
     (np.zeros(2), 1)],
)  # fmt: skip
@pytest.mark.parametrize("base", [OwnConfig, SimpleNamespace])
def test_somebody_elses_settings_are_told_whatever_they_are(judges: Any, experiment: Any, asks: int, base: Any) -> None:
    said = {"tuned_on": "digits", "chosen_among": "9 runs"}
    plain = Method(name="m", prepare=lambda _: Prepared(dataset=dataset()), run=lambda _: None)
    looks = plain.looks(base(eval=judges, experiment=experiment, **said))
    assert looks.count("experiments with further models") == asks
    assert looks.count(*choices.tuned("digits")) == 1 and choices.chosen("9 runs") not in looks
    assert (unpaid_looks.ALWAYS_LOOKS in looks) == bool(getattr(judges, "classifiers", ()))


def test_what_an_earlier_version_joined_is_not_told_twice(place: Place) -> None:
    def told(*said: str) -> list[str]:
        place.made("a")
        for one in said:
            account.enter_look(place.book, str(place.root / "a"), one)
        (row,) = accounts.told(str(place.source))["runs"]
        return [str(one) for one in row["looks"]]

    joined, now = f"{choices.TUNED}digits; my scans", choices.tuned("digits; my scans")
    assert told(joined) == [joined] and told(*now) == now


def test_somebody_elses_method_with_its_own_judges_begins(place: Place) -> None:
    assert (place.made("a", kind=OwnConfig) or {})["runs"] == 1


@pytest.mark.parametrize("state", ["begun", "finished", "sealed", "unknown", "absent"])
def test_what_a_run_is_chosen_among_afterwards_is_entered_once(place: Place, state: str) -> None:
    if state != "absent":
        place.made("a", *(["one"] if state == "begun" else []), config={"chosen_among": "2 seeds"})
    (place.root / "b/internal").mkdir(parents=True)
    if state == "sealed":
        with RunFolder(place.root / "a", "tiny", lock(place.root / "a"), time.process_time, None) as folder:
            write_atomically(folder.report_json, "{}")
            sealing.seal(folder, {})
        assert account_place.begun(str(place.root / "a")) == ""
    out = str(place.root / ("b" if state == "unknown" else "a"))
    commands = {
        "a": SimpleNamespace(config=Config(data=DataConfig(name=None, path=str(place.source))), account=AccountFlags())
    }
    for _ in range(2):
        account.enter_choice(place.book, out, "9 runs")
        room.enter_choices(commands, str(place.root), ["a"], "9 runs")  # no run lies there
    there = place.book.read()
    told = [] if there is None else [one.chosen_among for one in there.runs.values()]
    assert told == ([] if state == "absent" else ["2 seeds"] if state == "unknown" else ["2 seeds; 9 runs"])


@pytest.mark.parametrize("asked", [{"total": 0.3}, {"total": 9.0}, {"new_total": 9.0, "reason": "r"}])
def test_a_continued_run_says_that_it_writes_no_total(place: Place, asked: dict[str, Any]) -> None:
    """The same command again must not take back what was written since."""
    text = io.StringIO()
    place.made("a", "one", total=3.0)
    place.made("a", text=text, **asked)
    assert f"The total {asked.get('total', 9.0):g} is not written" in text.getvalue()
    assert [one.total for one in (place.book.read() or Account(id="", key=b"")).totals] == [3.0]


def test_a_change_that_a_store_asks_twice_enters_as_if_asked_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the answer to a write that was done is lost."""
    place.made("a", "one")
    copy = place.book.path.read_bytes()
    place.made("b")
    place.book.path.write_bytes(copy)
    real = FileBook.add
    monkeypatch.setattr(FileBook, "add", lambda self, *given, **more: [real(self, *given, **more) for _ in "12"][1])
    assert place.made("b") == {"sentence": LOST} and place.made("c") == {"sentence": BEHIND}
    assert place.state()[0] == ["a", "b", "c"]


@pytest.mark.parametrize("at", ["left out", "lost", "held before"])
def test_a_note_that_cannot_be_written_is_said_in_a_sentence(
    place: Place, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    place.made("a", "one")
    flags = {"account": "none"} if at == "left out" else {}
    if at == "lost":
        place.book.path.unlink()
    if at == "held before":
        place.made("a", "one", account="none")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ValueError, match=r"account\.json cannot be written \(No"),
    ):
        patch.setattr(account, "write_atomically", full)
        place.made("a", **flags)
    assert (place.made("a") or {}).get("runs", 0) == (0 if at == "lost" else 1)


def test_what_another_driver_pays_meanwhile_is_no_older_copy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paid between two looks, at the account and at the ledger, whichever is first."""
    text, read = io.StringIO(), FileBook.read
    place.made("a", "one")

    def late(book: FileBook) -> Account | None:
        there = read(book)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FileBook, "read", read)
            place.made("a")
        return there

    monkeypatch.setattr(FileBook, "read", late)
    with ExitStack() as stack, pytest.raises(SystemExit):
        place.begun(stack, "a", text=text, dry_run=True)
    assert "older copy" not in " ".join(text.getvalue().split())
    assert place.state() == (["a"], [["one", "two"]])


@pytest.mark.parametrize("told", ["[]", "null", "3", "{"])
def test_a_note_that_is_none_is_no_note(place: Place, told: str) -> None:
    place.made("a", stages=("one",))
    (place.root / "a/internal/account.json").write_text(told)
    assert place.made("a", stages=("one",)) == {"sentence": LOST}


def test_an_emptied_account_is_told(place: Place) -> None:
    text = io.StringIO()
    place.book.path.write_bytes(b"")
    place.made("a", text=text)
    assert "is empty, and begins anew: if it has held runs" in text.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dataset(), "All of these images were in m tiny"),
        (dataset(20, 60), "About 50 % of these images were in m tiny"),
        (dataset(40, 80), "None of these images was in an earlier run, pixel by pixel; all runs"),
        (dataset(0, 20), "All of these images"),
        (dataset(0, 40, persons=True), "All of these images"),
        (dataset(size=16), "cannot be told: they were read in another size"),
    ],
)
def test_a_run_on_some_of_the_same_people_is_recognised_and_always_added(
    place: Place, data: Dataset, said: str
) -> None:
    place.made("a", stages=("one",))
    text = io.StringIO()
    told = place.made("b", stages=("one",), data=data, text=text)
    assert said in " ".join(text.getvalue().split()) and told is not None
    if data.train.persons_N is None:
        assert told["epsilon"] == epsilon([COST] * 2, DELTA, "prv")
    else:
        assert (told["runs"], told["of_other_units"]) == (1, 1) and "to other units than persons" in told["sentence"]


def test_persons_of_a_part_of_the_images_who_are_named_otherwise_are_told(place: Place) -> None:
    """By the images themselves: two in a row are a person's, or as many an image's."""
    place.made("a", data=dataset(persons=True))
    assert (place.made("b", data=dataset(10, 50, persons=True)) or {})["runs"] == 2
    apart, text = dataset(11, 41, persons=True), io.StringIO()  # the other two in a row
    assert place.made("c", data=apart, text=text) == {"sentence": OTHERWISE}
    assert "holds for no person of either" in " ".join(text.getvalue().split())
    with pytest.raises(ValueError, match="divide images that both have otherwise: they do not add up"):
        place.made("d", data=apart, total=9.0)


def test_what_has_no_guarantee_and_what_is_paid_by_nobody_is_entered_as_that(place: Place) -> None:
    place.made("a", stages=(), config={"eval": EvalConfig(), "chosen_among": "12 runs of a leaderboard"})
    place.made("c", stages=(), kind=Attack)
    told = place.made("b")
    assert told is not None and (told["runs"], told["without_guarantee"]) == (1, 1)
    assert "1 without one, whose releases would tell more than any epsilon says" in told["sentence"]
    first, attack, second = accounts.told(str(place.source))["runs"]
    assert (attack["guarantee"], attack["epsilon"]) == ("no release", None)
    assert (first["guarantee"], first["epsilon"], first["looks"]) == ("none", None, ["accuracy on real images"])
    assert first["chosen_among"] == "12 runs of a leaderboard" and second["guarantee"] == "dp"


def test_where_none_is_kept_and_where_it_is_asked_for(place: Place, tmp_path: Path) -> None:
    # Neither a set by name nor a release of raysyn has one by itself: beside a release it would not be covered.
    assert place.made("a", data=dataset(own=False)) is None and place.made("b", account="none") is None
    assert not place.book.path.exists()
    with pytest.raises(ValueError, match=r"budget\.total is 3, and no account is kept .* --budget\.account"):
        place.made("c", data=dataset(own=False), total=3.0)
    elsewhere = tmp_path / "kept.jsonl"
    told = place.made("d", data=dataset(own=False), account=str(elsewhere), total=3.0)
    assert told is not None and told["runs"] == 1 and elsewhere.exists() and not place.book.path.exists()
    assert accounts.told(str(elsewhere))["together"][0]["total"] == 3.0
    # What is there is not left out in silence.
    place.made("e")
    text = io.StringIO()
    assert place.made("f", account="none", text=text) is None and "WARNING" in text.getvalue()
    assert place.state()[0] == ["e"]


@pytest.mark.parametrize("asked", [None, "given"])
def test_a_place_that_cannot_be_written_is_said_or_refused_before_any_work(
    place: Place, asked: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileBook, "why_not", lambda self: "its folder cannot be written to")
    text, begin = io.StringIO(), {} if asked is None else {"account": str(place.root / asked)}
    if asked is None:
        assert place.made("a", text=text) is None and "will cover this run alone" in text.getvalue()
        with pytest.raises(ValueError, match="cannot be added to"):
            place.made("b", total=3.0)
        # An account that is there, and what it holds, is not passed over.
        place.book.path.write_text("")
        with pytest.raises(ValueError, match="cannot be added to"):
            place.made("b")
    else:
        with pytest.raises(ValueError, match="but its folder cannot be written to"):
            place.made("b", text=text, **begin)
    assert not (place.root / "b").exists()


@pytest.mark.parametrize(
    "at", ["scans/kept", "scans/deep/kept", "b/release/kept", "a/release/kept", "a/release/x/kept"]
)
def test_an_account_never_lies_where_it_would_leave_or_be_read_as_images(place: Place, at: str) -> None:
    (place.root / at).parent.mkdir(parents=True, exist_ok=True)
    (place.root / "a/release").mkdir(parents=True, exist_ok=True)
    (place.root / "a/release/certificate.json").write_text('{"made_by": {}}')
    with pytest.raises(ValueError, match=r"budget\.account is .*, but it would lie in"):
        place.made("b", account=str(place.root / at))
    assert not (place.root / at).exists()


def test_no_file_of_the_images_becomes_an_account(place: Place) -> None:
    empty, table = place.source / "empty.png", place.source / "scans.csv.account.jsonl"
    empty.touch()
    with pytest.raises(ValueError, match="but it would lie inside the source of the images"):
        place.made("a", account=str(empty))
    assert empty.read_bytes() == b""
    # A table's in the folder is one by its name, and another one by what it holds.
    table.touch()
    place.made("b", account=str(table))
    shutil.copy(table, place.source / "kept")
    assert (place.made("c", account=str(place.source / "kept")) or {})["runs"] == 2


@pytest.mark.parametrize("there", [False, True])
def test_an_account_is_not_thrown_away_with_a_job(place: Place, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    if there:
        place.made("a")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(place.root)
    given = {"data": DataConfig(name=None, path="scans")}
    if there:
        with pytest.raises(
            ValueError, match=r"cannot be added to \(it would lie in the working directory of a submitted"
        ):
            place.made("b", config=given)
    else:
        assert place.made("b", config=given, text=text) is None and not place.book.path.exists()
        assert "No account is kept, since it would lie in the working directory" in text.getvalue()


def test_a_password_in_the_place_of_a_run_is_not_written_down() -> None:
    for given, kept in (
        ("s3://key:secret@bucket/runs/a?region=x", "s3://bucket/runs/a"), ("s3://bucket/a@b", "s3://bucket/a@b")
    ):  # fmt: skip
        assert without_password(given) == kept


def test_a_sealed_run_asks_nothing_more_of_the_account(place: Place) -> None:
    place.made("a")
    run_json = place.root / "a/internal/run.json"
    run_json.write_text(json.dumps(json.loads(run_json.read_text()) | {"sealed": {"settings": {}, "places": []}}))
    os.unlink(place.root / "a/internal/secret")
    assert account_place.begun(str(place.root / "a")) == ""


def test_ids_are_those_of_the_run_folder(tmp_path: Path) -> None:
    assert account_place.begun(str(tmp_path / "a")) is None
    with RunFolder.open(tmp_path / "a", method="m", preset="p", config={}, data_fingerprint="f") as folder:
        assert account_place.begun(str(tmp_path / "a")) == folder.run_id


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"total": 0.0}, "budget.total is 0.0"),
        ({"new_total": float("inf"), "reason": "r"}, "budget.new_total is inf"),
        ({"total": 1.0, "new_total": 2.0, "reason": "r"}, "leave one of them out"),
        ({"new_total": 2.0}, "--budget.reason"),
        ({"new_total": 2.0, "reason": " "}, "--budget.reason"),
        ({"reason": "r"}, "leave it out"),
        ({"account": ""}, "budget.account is empty"),
        ({"account": "none", "total": 2.0}, "budget.account is none"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_in_one_sentence(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        AccountFlags(**flags)
    assert words in str(error.value)
