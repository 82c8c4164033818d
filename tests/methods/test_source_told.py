"""What is said of a source before anything is spent: how it was read, and how copies weaken the promise."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysyn.data.copies import find_copies
from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods.method import Method, Prepared
from raysyn.methods.pigan.presets import PRESETS
from raysyn.methods.pigan.variants import first_split
from raysyn.methods.source_told import copies_counted, equal_ones, of_copies, say_source, source_facts
from raysyn.privacy.cost import ADD_REMOVE, Cost
from raysyn.privacy.ledger import Plan
from raysyn.report import meaning
from raysyn.report.pictures import png_bytes
from raysyn.screen.accounts import AccountFlags
from raysyn.screen.console import Console

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)


def dataset(train: list[int], test: list[int], told: str = "") -> Dataset:
    def of(rows: list[int]) -> Images:
        return Images(PIXELS[rows], np.zeros(len(rows), np.int64), ("one",))

    return Dataset("set", of(train), of(test), None, told=told)


def test_copies_are_counted_by_pixels_and_not_by_labels() -> None:
    copies = find_copies(PIXELS[[0, 1, 0, 2, 0, 1, 3]], PIXELS[[9, 0, 0, 3]])
    assert (copies.among, copies.most, copies.tested) == (3, 3, 3)
    none = find_copies(PIXELS[:5], PIXELS[5:9])
    assert (none.among, none.most, none.tested) == (0, 1, 0)
    assert find_copies(PIXELS[:0], PIXELS[:0]).most == 1
    # As views of a larger array too, whose rows do not lie one after the other.
    assert find_copies(np.repeat(PIXELS, 2, axis=2)[:, :, ::2][[4, 4]], PIXELS[:1]).among == 1


PLAN = Plan(
    stages={"one": Cost(mechanism="query", noise_multiplier=3.0, sampling_rate=1.0, steps=1)}, delta=1e-3,
    accountant="prv", epsilon_budget=10.0,
)  # fmt: skip


def certified(copies: int, plan: Plan) -> str:
    """What the certificate of such a run says of so many images, in the middle of its sentence."""
    known = meaning.figures(list(plan.stages.values()), plan.epsilon("prv"), plan.delta)
    sentence = meaning.told(known, ADD_REMOVE)["several_images"]["sentence"]
    at = sentence.split("epsilon is ")[1].rstrip(".").replace(" or", ",").split(", ")
    return str(at[["2", "4", "8"].index(f"{copies}")])


@pytest.mark.parametrize("copies", [2, 4, 8])
def test_what_copies_cost_is_what_the_certificate_says_of_as_many_images(copies: int) -> None:
    first, *_ = of_copies(dataset([0] * copies + [1], [2]), PLAN)
    words = f"ε at the same δ is larger, up to {certified(copies, PLAN)} with {copies}. Leave the copies out"
    assert words in first and float(certified(copies, PLAN)) > copies * PLAN.epsilon("prv")


@pytest.mark.parametrize(
    ("copies", "noise", "said"),
    [(33, 3.0, " with 32 of them, more with all 33. "), (2, 1e-4, "is larger, more than can be said with 2. ")],
)
def test_what_is_not_worked_out_is_no_upper_limit(copies: int, noise: float, said: str) -> None:
    stages = {"one": replace(PLAN.stages["one"], noise_multiplier=noise)}
    plan: Any = SimpleNamespace(stages=stages, delta=1e-3, epsilon_budget=10.0)
    assert said in of_copies(dataset([0] * copies + [1], [2]), plan)[0]


@pytest.mark.parametrize("plan", [None, PLAN])
def test_copies_are_warned_of_with_what_they_cost(plan: Plan | None) -> None:
    first, second = of_copies(dataset([0] * 9 + list(range(1, 20)), [25, 0]), plan)
    assert first.startswith("8 of the 28 private images are exact copies of others; one is there 9 times.")
    assert (" with 9. Leave the copies out" in first) == (plan is not None)
    assert second.startswith("1 of the 2 test images is a training image too")
    assert of_copies(dataset([1, 2], [3]), plan) == []


@pytest.mark.parametrize(
    ("whose", "times"), [(range(5), 3), ([7, 7, 7, 8, 9], 1), ([7, 7, 8, 9, 9], 2), ([1, 1, 1, 1, 1], 1), (None, 3)]
)
def test_copies_of_one_persons_images_change_nothing(
    whose: list[int] | None, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first three are of one picture."""
    persons_N = None if whose is None else np.unique(list(whose), return_inverse=True)[1]
    images = Images(PIXELS[[0, 0, 0, 1, 2]], np.zeros(5, np.int64), ("one",), persons_N)
    found = Dataset("set", images, images.select(slice(0)), None)
    assert (found.copies.among, found.copies.most, found.copies.units) == (2, 3, times)
    say_source(Console(), found, PLAN)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of the 5 private images are exact copies of others; one is there 3 times." in said
    assert (f" with {times}. " in said) == (times > 1) == ("WARNING: 2 of the 5" in said)
    assert ("one person with all images" in said) == (whose is not None and times > 1)
    assert ("whom the promise covers with all images: they weaken nothing." in said) == (times == 1)
    # Without a promise nothing covers them.
    (alone,) = of_copies(found, None)
    assert alone.endswith("one is there 3 times.")


def test_one_copy_is_one() -> None:
    assert of_copies(dataset([0, 0, 1], [2]), None) == ["1 of the 3 private images is an exact copy of another one."]


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("plan", [None, PLAN])
@pytest.mark.parametrize("named", [True, False])
def test_who_has_several_images_is_asked_once_where_nobody_is_named(
    named: bool, plan: Plan | None, own: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Images(PIXELS[:20], np.zeros(20, np.int64), ("one",), np.arange(20) if named else None)
    say_source(Console(), Dataset("set", images, images.select(slice(0)), None, own=own), plan)
    said = " ".join(capsys.readouterr().out.split())
    asked = (
        "The promise is for one image; if somebody has several, name them with --data.person-column or "
        "--data.person-pattern."
    )
    assert said == (asked if own and not named and plan is not None else "")


@pytest.mark.parametrize(("persons", "said"), [(1, "There is 1 person to"), (19, "There are 19 persons to"), (20, "")])
@pytest.mark.parametrize("plan", [None, PLAN])
def test_few_persons_are_warned_of(
    persons: int, said: str, plan: Plan | None, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Images(PIXELS[:20], np.zeros(20, np.int64), ("one",), np.minimum(np.arange(20), persons - 1))
    say_source(Console(), Dataset("set", images, images.select(slice(0)), None), plan)
    out = capsys.readouterr().out
    assert out.startswith(f"WARNING: {said}") if said else not out


def test_the_console_warns_and_tells_how_the_source_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    say_source(Console(), dataset([0, 0], [1], told="a folder; left out: 3 hidden"), PLAN)
    said = capsys.readouterr().out
    assert "set: read as a folder; left out: 3 hidden." in said and "WARNING: 1 of the 2 private images is an" in said
    say_source(Console(), replace(dataset([0, 1], [2]), warned=("Look at them.",)), None)
    assert capsys.readouterr().out.strip() == "WARNING: Look at them."
    say_source(Console(), dataset([0, 1], [2]), PLAN)
    assert capsys.readouterr().out == ""


def test_a_source_that_pigan_divides_anew_is_told_of_all_the_same() -> None:
    raw = replace(dataset(list(range(20)), [20, 21], told="a folder"), warned=("Look.",), own=True)
    divided = first_split(PRESETS["quick"], raw)
    assert len(divided.train) + len(divided.test) == 22 and len(divided.train) != 20
    assert (divided.told, divided.warned, divided.own) == ("a folder", ("Look.",), True)
    assert divided.source_fingerprint == raw.fingerprint() != divided.fingerprint() and divided.copies.among == 0


def test_the_report_has_the_same_facts() -> None:
    copied = dataset([0, 0, 0, 1], [1], told="a folder")
    assert copies_counted(copied) == {"copies_among_private": 2, "copies_of_one_private": 3, "test_images_in_train": 1}
    assert copies_counted(dataset([0, 1], [2])) == {"copies_among_private": 0}
    assert source_facts(replace(copied, warned=("Look.",))) == {"read_as": "a folder", "warned": ["Look."]}
    assert source_facts(copied) == {"read_as": "a folder"} and source_facts(dataset([0], [1])) == {}


def test_released_images_that_equal_private_ones_are_counted() -> None:
    private = dataset([0, 0, 1], [2])
    assert equal_ones(dataset([0, 2, 1, 0], []).train, private) == {"released_equal_to_private": 3}
    assert equal_ones(dataset([3], []).train, private) == {"released_equal_to_private": 0}


def test_a_dry_run_begins_with_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, rows in (("train", [0, *range(1, 30), *[0] * 4]), ("valid", [9]), ("test", [3, 5])):
        for at, row in enumerate(rows):
            folder = tmp_path / "zoo" / split / "ant"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{at}.png").write_bytes(png_bytes(PIXELS[row]))
    (tmp_path / "zoo" / "train" / "ant" / ".ipynb_checkpoints").mkdir()
    method = Method(name="m", prepare=lambda config: Prepared(dataset=load(config)), run=print)
    command: Any = SimpleNamespace(
        track="none", config=DataConfig(path=str(tmp_path / "zoo")), dry_run=True, out="gone", account=AccountFlags()
    )
    connect: Any = None
    with pytest.raises(SystemExit), ExitStack() as stack:
        method.begin(command, Console(), connect, stack)
    said = " ".join(capsys.readouterr().out.split())
    assert "zoo: read as a folder with train/, valid/ (as val) and test/, of class folders; left out: 1 hidden." in said
    assert "WARNING: 4 of the 34 private images are exact copies of others; one is there 5 times." in said
    assert "The promise" not in said and "WARNING: 2 of the 2 test images are training images too" in said


def test_classes_whose_names_the_samples_cannot_write_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    one = dataset([0, 1], [2])
    named = replace(one, train=replace(one.train, class_names=("違反",)))
    say_source(Console(), named, None)
    told = "The font of samples.png lacks letters of the name of class 0 (違反), where the number stands instead."
    assert told in " ".join(capsys.readouterr().out.split()) and source_facts(named) == {"warned": [told]}
