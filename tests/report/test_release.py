"""What may not leave is refused wherever it is planted, and no sentence of a certificate is without a check."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import io
import json
import re
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_stand_in import digits, privacy
from what_is_said import BY_DEFINITION, CHECKS, checks_of, spoken_by

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.data import images as data
from raysyn.methods import catalogue, common, ends
from raysyn.methods.declared import declared
from raysyn.methods.leaderboard.together import in_row, together
from raysyn.metrics.yardsticks import BEST_IS_UNCHARGED, best_uncharged, summary
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, epsilon
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.report import choices, report
from raysyn.report.release import certificate, declare, pages_of, write_release
from raysyn.report.terms import terms
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import Store, read_bytes, under, write_bytes
from raysyn.screen.cli import Command
from raysyn.screen.console import Console

ROOT = Path(__file__).parents[2]
# These end as a method of somebody else's does.
METHODS = [
    ends if one.name in ("noisy_means", "dp_feta", "evolution") else importlib.import_module(one.work)
    for one in catalogue.METHODS
]
QUICK = catalogue.find("dp_feta").presets()["quick"]


def folder(out: Path) -> RunFolder:
    return RunFolder.open(out, method="m", preset="p", config={}, data_fingerprint="f")


def signed(told: dict[str, Any] | None = None) -> dict[str, Any]:
    images = digits(1)
    return certificate(
        told or privacy(), method="m", name="set", n=600, shape=images.shape, class_names=images.class_names
    )


Plant = Callable[[dict[str, Any]], Any]
ACCURACY: tuple[Plant, ...] = (
    lambda it: it.update(accuracy=0.931),
    lambda it: it["ledger"][0].update(accuracy_real_data=0.931),
    lambda it: it["public_facts"].update(utility={"cnn": 0.931}),
    lambda it: it["uncharged_choices"].append({"best": 0.931}),
    lambda it: it["public_facts"].update(private_images=600.931),
)
COUNTS: tuple[Plant, ...] = (
    lambda it: it["public_facts"].update(class_counts=[60, 54]),
    lambda it: it["public_facts"].update(classes={"0": 60, "1": 54}),
    lambda it: it["public_facts"].update(private_images=[60, 54]),
    lambda it: it["public_facts"].update(classes=[["0", 60]]),
)
FINGERPRINT: tuple[Plant, ...] = (
    lambda it: it.update(data_fingerprint="a" * 64),
    lambda it: it["public_facts"].update(sha256="a" * 64),
    lambda it: it["made_by"].update(run="a" * 16),
    lambda it: it.update(files={"private.parquet": {"sha256": "a" * 64}}),
    lambda it: it.update(public_networks=[{"name": "x", "sha256": "a" * 64, "weights": [0.1]}]),
)
TIMES: tuple[Plant, ...] = (
    lambda it: it.update(timings={"finetune": {"wall_s": 3.2}}),
    lambda it: it["ledger"][1].update(time="2026-01-01T00:00:00+00:00"),
    lambda it: it["made_by"].update(cpu_s=3.2),
    lambda it: it["made_by"].update(method={"seconds": 3}),
)


@pytest.mark.parametrize("plant", [*ACCURACY, *COUNTS, *FINGERPRINT, *TIMES])
def test_what_is_not_listed_is_refused_before_anything_is_written(plant: Plant, tmp_path: Path) -> None:
    told = signed()
    may_leave.check(told, ())
    plant(told)
    with folder(tmp_path / "run") as there:
        with pytest.raises(ValueError, match=r"^certificate\.json may not say \S+"):
            write_release(there, digits(20), told, name="x")
        assert list(there.release.glob("*")) == []


@pytest.mark.parametrize("row", ["time", "accuracy", "class_counts", "fingerprint"])
def test_what_the_ledger_s_rows_say_is_held_to_the_list(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it comes from the very ledger, by the section that report and certificate share."""
    price = Cost(mechanism="DP-SGD", noise_multiplier=4.0, sampling_rate=0.05, steps=20)
    plan = Plan(stages={"finetune": price}, delta=1e-5, accountant="rdp", epsilon_budget=3.0)
    ledger = Ledger(plan, tmp_path / "ledger.jsonl")
    ledger.pay("finetune", Release(None, price))
    entries = [entry | {"accuracy": 0.9, "class_counts": [3, 4], "fingerprint": "ab"} for entry in ledger.entries()]
    monkeypatch.setattr(ledger, "entries", lambda: entries)
    with folder(tmp_path / "run") as there:
        write_release(there, digits(20), signed(report.dp_section(plan, ledger)), name="x")
        monkeypatch.setattr(report, "LEDGER_COLUMNS", (*report.LEDGER_COLUMNS, row))
        with pytest.raises(ValueError, match=rf"^certificate\.json may not say ledger\[\]\.{row}: it is not in"):
            write_release(there, digits(20), signed(report.dp_section(plan, ledger)), name="x")


@pytest.mark.parametrize("name", ["report.json", "secret", "certificate.json.bak", ".hidden"])
def test_a_file_that_is_not_listed_does_not_leave(name: str, tmp_path: Path) -> None:
    with folder(tmp_path / "run") as there:
        with pytest.raises(ValueError, match=rf"^release/{name} may not leave"):
            write_release(there, digits(20), signed(), name="x", more={name: b"?"})
        assert list(there.release.glob("*")) == []
        write_release(there, digits(20), signed(), name="x", more={"network.json": b"?"})
        with pytest.raises(ValueError, match=r"^release/student\.pt may not leave of a run with a promise"):
            write_release(there, digits(20), signed(), name="x", more={"student.pt": b"?"})


def every_term() -> list[str]:
    """Of a run of each kind, with all that a certificate may say."""
    rows = [{"mechanism": "DP-SGD"}, {"mechanism": "noisy class means"}]
    signed = {"ledger": rows, "adjacency": ADD_REMOVE, "public_images": [{}], "public_networks": [{}], "made_by": {}}
    kinds = (
        signed,
        signed | {"made_by": {"package": "{}"}},
        signed | {"ledger": rows[1:]},
        signed | {"public_images": []},
        signed | {"public_networks": []},
    )
    return [line for kind in kinds for lines in terms(kind).values() for line in lines]


def test_what_a_certificate_lists_follows_what_the_run_did() -> None:
    """Nothing is said of DP-SGD where nothing was trained by it, nor of public images where there were none, and what
    a promise has always left out stays left out."""
    means = {"ledger": [{"mechanism": "noisy class means"}] * 2, "adjacency": ADD_REMOVE, "made_by": {}}
    told = terms(means | {"public_images": [], "public_networks": []})
    assert told["covers"][1] == "every answer in the ledger (noisy class means), should it be handed on"
    assert not re.search("DP-SGD|trained|public images", json.dumps(told)) and len(told["does_not_cover"]) == 9
    more = terms({**means, "ledger": [{"mechanism": "DP-SGD"}], "public_images": [{}], "public_networks": []})
    assert "(the network trained by DP-SGD)" in more["covers"][1] and "losses of DP-SGD" in json.dumps(more)
    assert len(more["does_not_cover"]) == 10
    twice = terms({**means, "ledger": [{"mechanism": "DP-SGD"}, {"mechanism": "DP-SGD of persons"}],
                   "public_images": [], "public_networks": []})  # fmt: skip
    assert twice["covers"][1] == more["covers"][1]
    # Plain words: no field of a JSON file, no flag.
    assert not re.search(r"--|_", json.dumps([*every_term(), *terms(means | {
        "adjacency": ADD_REMOVE_PERSON, "public_images": [], "public_networks": []})["does_not_cover"]]))  # fmt: skip


@pytest.mark.parametrize(
    ("where", "lines"),
    [
        ("KMNIST", ["{preset}KMNIST"]),
        ("KMNIST; my scans, twice; and more", ["{preset}KMNIST", "{words}my scans, twice; and more"]),
        ("KMNIST; fashion_mnist{table}", ["{preset}KMNIST", "{picked}fashion_mnist{table}"]),
        ("; my scans{table}", ["{picked}my scans{table}"]),
        ("; my scans", ["{words}my scans"]),
        ("KMNIST; mine; digits{table}", ["{preset}KMNIST", "{words}mine", "{picked}digits{table}"]),
    ],
)
def test_what_a_user_says_of_settings_is_a_line_of_its_own(where: str, lines: list[str]) -> None:
    said = {"preset": choices.TUNED, "words": choices.WORDS, "picked": choices.PICKED, "table": choices.BY_TABLE}
    now = choices.tuned(where.format(**said))
    assert now == [line.format(**said) for line in lines]
    # What an earlier raysyn joined is not said twice.
    once = "; ".join(reversed(where.format(**said).split("; ")))  # also where the user's words came first
    for joined in (where.format(**said), once):
        if not joined.startswith("; ") and not joined.endswith("; "):
            assert choices.added_up([f"{choices.TUNED}{joined}"], now) == now


def test_each_sentence_has_a_check_and_each_check_that_is_named_exists() -> None:
    for sentence in (*every_term(), *(one for method in METHODS for one in spoken_by(method))):
        checks_of(sentence)
    for known, checks in CHECKS.items():
        assert checks, known
        for check in checks:
            if isinstance(check, str) and check != BY_DEFINITION:
                file, _, name = check.partition("::")
                tests = [one for one in ast.parse((ROOT / file).read_text()).body if isinstance(one, ast.FunctionDef)]
                assert name in {one.name for one in tests}, check
    with pytest.raises(AssertionError, match=r"what_is_said\.py makes it true that: we were careful"):
        checks_of("we were careful")


def test_what_a_method_adds_to_its_choices_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands in `uncharged`: a new sentence without a check fails above."""
    method, told = METHODS[0], "a new choice that nobody has a check for"
    home = inspect.getmodule(method.uncharged)
    source = inspect.getsource(method.uncharged)
    for new in (
        source.replace("    return [", f"    if config.seed > 3:\n        choices.append({told!r})\n    return ["),
        source.replace("best_uncharged(config.eval.classifiers)", "[ANOTHER]"),
    ):
        monkeypatch.setattr(inspect, "getsource", lambda _, new=new: new)
        monkeypatch.setattr(home, "ANOTHER", told, raising=False)
        with pytest.raises(AssertionError, match=told):
            spoken_by(method)


def test_every_preset_says_what_it_was_tuned_on() -> None:
    for method in catalogue.METHODS:
        presets = method.presets()
        assert presets and all(one.tuned_on for one in presets.values()), method.name
    told = declared(QUICK)
    assert told == ["the preset's settings were tuned while looking at real results on digits"]


def test_a_leaderboard_that_has_grown_takes_the_place_of_what_it_was() -> None:
    def board(runs: int) -> str:
        return choices.chosen(choices.of_leaderboard(runs))

    assert board(12) == "chosen among 12 runs of a leaderboard, by accuracy on real images"
    by_hand = choices.chosen("9 runs by hand")
    assert choices.added_up(["a", board(9)], ["b", board(12), "a"]) == ["a", "b", board(12)]
    assert choices.added_up(["a", board(100), by_hand], [board(12)]) == ["a", board(100), by_hand]
    assert choices.added_up([], []) == []


def test_the_best_classifier_is_a_choice_of_several_and_told_once() -> None:
    for one, method in zip(catalogue.METHODS, METHODS, strict=True):
        config = one.presets()["quick"]
        if hasattr(getattr(config, "eval", None), "classifiers"):
            told = [spoken(method, config, names) for names in ((), ("cnn",), ("cnn", "mlp"))]
            assert told[0] == told[1] and set(told[2]) - set(told[1]) == {BEST_IS_UNCHARGED}, one.name
            assert BEST_IS_UNCHARGED in spoken_by(method), one.name
    told = [best_uncharged(*names) for names in ([()], [("cnn",)], [("cnn", "mlp")], [("cnn",), ("own",)])]
    assert told == [[], [], [BEST_IS_UNCHARGED], [BEST_IS_UNCHARGED]]
    assert "metrics." not in BEST_IS_UNCHARGED
    assert choices.added_up([choices.BEST_ONCE, "a"], [BEST_IS_UNCHARGED]) == ["a", BEST_IS_UNCHARGED]
    assert choices.added_up([choices.BEST_ONCE], ["a"]) == [choices.BEST_ONCE, "a"], "what was looked at stays so"
    one = {"cnn": {"accuracy": 0.5}}
    assert "uncharged_choice" not in summary(one)["best"]
    assert summary(one | {"mlp": {"accuracy": 0.4}})["best"]["uncharged_choice"] == BEST_IS_UNCHARGED


def spoken(method: Any, config: Any, classifiers: tuple[str, ...]) -> list[str]:
    """What is uncharged with these classifiers alone."""
    changed = {"students": ()} if hasattr(config, "students") else {}
    return list(method.uncharged(replace(config, eval=replace(config.eval, classifiers=classifiers), **changed)))


def test_what_a_run_was_chosen_among_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    """A finished run is said to be chosen among more; with another setting it is not continued."""
    dataset = data.load(data.DataConfig(limit=30))

    def opened(**more: Any) -> list[str]:
        config = replace(QUICK, **more)
        command = Command(preset="quick", config=config, machines=Machines(), out=str(tmp_path / "run"), dry_run=False)
        with ExitStack() as stack:
            connect = lambda machines, storage, show: nullcontext(Local(storage))  # noqa: E731
            setting = common.open_run(command, "dp_feta", dataset, Console(io.StringIO()), connect, stack)
            return METHODS[0].uncharged(setting.config)

    assert "leaderboard" not in " ".join(opened())
    assert choices.chosen("12 runs of a leaderboard") in opened(chosen_among="12 runs of a leaderboard")
    assert set(choices.tuned("digits; mnist")) < set(opened(tuned_on="digits; mnist"))
    with pytest.raises(ValueError, match="holds a run with seed = 0, this one has seed = 5"):
        opened(seed=5)


@pytest.mark.parametrize("scheme", ["", "fsspec+file://"])
def test_what_a_finished_run_was_chosen_among_is_added_to_its_certificate(scheme: str, tmp_path: Path) -> None:
    with folder(tmp_path / "runs" / "one") as there:
        write_release(there, digits(20), signed(), name="x")
    runs, before = f"{scheme}{tmp_path}/runs", json.loads(there.certificate.read_text())
    for number in (3, 5, 4):
        declare(under(runs, "one"), choices.chosen(choices.of_leaderboard(number)))
    declare(under(runs, "none yet"), "anything")
    after, text = json.loads(there.certificate.read_text()), there.certificate.read_text()
    pages = {
        name: {"sha256": hashlib.sha256((there.release / name).read_bytes()).hexdigest()} for name in pages_of(after)
    }
    assert after == before | {
        "uncharged_choices": [
            *before["uncharged_choices"], "chosen among 5 runs of a leaderboard, by accuracy on real images"
        ],
        "files": before["files"] | pages,
    }  # fmt: skip
    assert text.startswith('{"statement": "') and list(after) == list(before)
    # The run's own report, written anew, says no less.
    with folder(tmp_path / "runs" / "one") as there:
        write_release(there, digits(20), signed(), name="x")
    assert there.certificate.read_text() == text
    assert Store(runs).folders("") == ["one"] and Store(runs).folders("nowhere") == []


def test_a_damaged_certificate_is_not_signed_again(tmp_path: Path) -> None:
    uri = f"fsspec+file://{tmp_path}/one"
    write_bytes(uri, "release/certificate.json", json.dumps(signed() | {"accuracy": 0.9}).encode())
    with pytest.raises(ValueError, match="may not say accuracy"):
        declare(uri, "a choice")
    assert json.loads(read_bytes(uri, "release/certificate.json"))["accuracy"] == 0.9


def test_all_private_releases_of_a_data_set_are_composed_as_one() -> None:
    query = Cost(mechanism="means", noise_multiplier=5.0, sampling_rate=0.1, steps=5)
    training = Cost(mechanism="DP-SGD", noise_multiplier=4.0, sampling_rate=0.05, steps=20)

    def told(data: str, delta: float, *costs: Cost, guarantee: str = "dp") -> dict[str, Any]:
        rows = [{"stage": "x", **vars(cost), "epsilon_alone": 0.0} for cost in costs]
        paid = {"guarantee": guarantee, "delta": delta, "ledger": rows}
        return {"dataset": {"name": data}, "privacy": paid | {"adjacency": costs[0].adjacency} if costs else paid}

    dear = Cost(mechanism="DP-SGD", noise_multiplier=0.3, sampling_rate=1.0, steps=50)
    found = together(
        [told("a", 1e-5, query, training), told("a", 1e-6, training), told("a", 1e-6, guarantee="none"),
         told("b", 1e-5, dear), told("a", 1e-5, replace(query, adjacency=ADD_REMOVE_PERSON))]
    )  # fmt: skip
    both, theirs = found["a", "image"], found["a", "person"]
    assert found.keys() == {("a", "image"), ("a", "person"), ("b", "image")}
    assert (both.releases, both.delta, both.priced_by) == (2, 1e-6, "prv")
    assert both.epsilon == epsilon([query, training, training], 1e-6, "prv") > epsilon([query, training], 1e-6, "prv")
    assert theirs.epsilon == epsilon([query], 1e-5, "prv")
    assert found["b", "image"].epsilon == epsilon([dear], 1e-5, "prv") > 200
    # Where there are two sums, each names its unit and what it leaves out; elsewhere nothing is said of units.
    assert both.told().startswith("All 2 private releases of a promised to images together: epsilon ")
    assert "by PRV; 1 promised to persons is not in it. One alone" in both.told()
    assert theirs.told().startswith("The one private release of a promised to persons: epsilon ")
    assert theirs.told().endswith("by PRV; 2 promised to images are not in it.")
    assert found["b", "image"].told().startswith("The one private release of b: epsilon ")
    assert "not in it" not in found["b", "image"].told()
    assert in_row(both) == {"releases_together": 2, "epsilon_together": both.epsilon, "delta_together": 1e-6}
    assert set(in_row(None).values()) == {None}
