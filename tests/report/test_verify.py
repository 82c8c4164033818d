"""What a recipient finds out from release/ alone: a sound one passes, and each thing that is not so is named."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import damaged
from PIL import Image
from report_stand_in import digits

from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, delta_beside, kinds_of, priced
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.report import account_told, verify_contents, verify_meaning, verify_network, verify_samples
from raysyn.report import pictures as sheets
from raysyn.report import verify as verifying
from raysyn.report.card import CARD
from raysyn.report.disclosure import DISCLOSURE
from raysyn.report.earlier import earlier, earlier_delta, earlier_terms, later
from raysyn.report.meaning import SENTENCES, attack_limits, attack_sentence, figures, told
from raysyn.report.pictures import png_bytes
from raysyn.report.release import (
    ALWAYS,
    certificate,
    packed,
    pages_of,
    parquet_bytes,
    statement,
    write_release,
)
from raysyn.report.report import dp_section, no_dp_section
from raysyn.report.terms import terms
from raysyn.report.verify import main, verify
from raysyn.runs.folder import RunFolder
from raysyn.runs.may_leave import network_text
from raysyn.runs.versions import version
from raysyn.screen.words import rounded_up

STAGES = {
    "central": Cost(mechanism="noisy class means", noise_multiplier=5.0, sampling_rate=0.1, steps=5, note="parallel"),
    "finetune": Cost(mechanism="DP-SGD", noise_multiplier=1.3, sampling_rate=0.05, steps=200),
}

STUDENT = {"student.pt": b"weights"}


RELEASES = Path(__file__).with_name("releases")


def release_of(
    out: Path, accountant: str = "prv", private: bool = True, more: Mapping[str, bytes] | None = None,
    persons: int | None = None, account: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """A release of digits by a run that paid for two stages, or promises nothing."""
    adjacency = ADD_REMOVE if persons is None else ADD_REMOVE_PERSON
    stages = {stage: replace(cost, adjacency=adjacency) for stage, cost in STAGES.items()}
    with RunFolder.open(out, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        plan = Plan(stages=stages, delta=1e-6, accountant=accountant, epsilon_budget=9.0)
        ledger = Ledger(plan, folder.ledger)
        for stage, cost in stages.items():
            ledger.pay(stage, Release(None, cost))
        privacy = dp_section(plan, ledger, account=account) if private else no_dp_section()
        told = certificate(
            privacy, method="m", name="s", n=5_000, shape=(8, 8, 1), class_names=list("0123456789"), persons=persons
        )
        more = ({} if private else STUDENT) if more is None else more
        write_release(folder, digits(20), told, name="synthetic s", more=more)
    return out / "release"


def checked(release: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]], str]:
    """(status, {check: (verdict, what was found)}, the last line)."""
    status = main([str(release)])
    *lines, last = capsys.readouterr().out.splitlines()
    names = ("promise", "statement", "adjacency", "epsilon", "figures", "attacks", "meaning", "delta", "terms",
             "fields", "files", "account", "images", "samples", "card", "layouts", "network", "contents", "pages",
             "nothing else")  # fmt: skip
    rows = {name: line for line in lines for name in names if line[7:].startswith(f"{name} ")}
    assert len(rows) == len(lines)
    return status, {name: (line[:5], line[7 + len(name) :].strip()) for name, line in rows.items()}, last


@pytest.mark.parametrize(("accountant", "private"), [("prv", True), ("rdp", True), ("prv", False)])
def test_a_sound_release_passes(
    accountant: str, private: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows, last = checked(release_of(tmp_path, accountant, private), capsys)
    assert status == 0 and {verdict for verdict, _ in rows.values()} == {"holds"} and "holds" in last
    if private:
        assert len(rows) == 16 and f"by {accountant.upper()} from the 2 rows" in rows["epsilon"][1]
    else:
        assert "no differential privacy" in rows["promise"][1]


def test_a_sound_release_of_persons_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path, persons=700)
    status, rows, _ = checked(release, capsys)
    assert status == 0 and {verdict for verdict, _ in rows.values()} == {"holds"} and len(rows) == 16
    assert rows["adjacency"][1] == ADD_REMOVE_PERSON and "of the private persons at" in rows["attacks"][1]
    signed = json.loads((release / "certificate.json").read_text())
    assert "any one person with all their images" in signed["statement"]
    assert signed["delta_beside"] == delta_beside(1e-6, 700) != delta_beside(1e-6, 5_000)
    for text in ((release / name).read_text() for name in ("README.md", "croissant.json")):
        assert "one person with all their images" in text and "one image" not in text


@pytest.mark.parametrize(("runs", "without", "others"), [(1, 0, 0), (16, 3, 2)])
def test_a_release_that_tells_of_all_runs_passes(
    runs: int, without: int, others: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in ("alone", "told"):
        (tmp_path / each).mkdir()
    alone = json.loads((release_of(tmp_path / "alone") / "certificate.json").read_text())["epsilon_prv"]
    figures = {
        "runs": runs, "epsilon": alone if runs == 1 else 17.123, "delta": 1e-6, "without_guarantee": without,
        "of_other_units": others,
    }  # fmt: skip
    sentence = account_told.sentence(figures, ADD_REMOVE)
    price = "17.2" if runs > 1 else rounded_up(alone)
    assert f"({price}, 1e-6)-differentially private for one image" in sentence
    assert (f"{runs} runs" in sentence) == (runs > 1)
    assert (f"{without} without one" in sentence, "other units" in sentence) == (without > 0, others > 0)
    release = release_of(tmp_path / "told", account={"sentence": sentence, **figures})
    status, rows, _ = checked(release, capsys)
    assert status == 0 and rows["account"] == ("holds", sentence) and sentence in (release / "README.md").read_text()


def fails(
    release: Path, change: Callable[[dict[str, Any]], None], named: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """These checks and no others fail of a release whose certificate is changed."""
    path = release / "certificate.json"
    signed = json.loads(path.read_text())
    change(signed)
    path.write_text(json.dumps(signed))
    status, rows, last = checked(release, capsys)
    # The pages repeat most of the certificate.
    assert status == 1 and {name for name, (verdict, _) in rows.items() if verdict == "FAILS"} - {"pages"} == named
    assert last.startswith("does not hold: ") and all(name in last for name in named)


@pytest.mark.parametrize(
    "row", [[math.nan, *[0.1] * 9], [math.inf, *[0.1] * 9], [None] * 10, None, [0.1] * 9, []],
    ids=["NaN", "endless", "nulls", "null", "short", "none"],
)  # fmt: skip
def test_soft_labels_that_are_no_number_for_each_class_are_named_in_a_sentence(
    row: list[float | None] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = release_of(tmp_path)
    path, images = release / "synthetic.parquet", digits(20)
    soft_NK = np.eye(10, dtype=np.float32)[images.labels_N]
    path.write_bytes(parquet_bytes(images, "synthetic s", soft_NK))
    table = pq.read_table(path)
    at = table.schema.get_field_index("soft_label")
    rows = pa.array([row, *table["soft_label"].to_pylist()[1:]], pa.list_(pa.float32()))
    path.write_bytes(packed(table.set_column(at, table.schema.field(at), rows)))
    signed = json.loads((release / "certificate.json").read_text())
    signed["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (release / "certificate.json").write_text(json.dumps(signed))
    status, found, _ = checked(release, capsys)
    told = "synthetic.parquet is no file that raysyn released (it has soft labels that are not a number for each class)"
    assert status == 1 and found["contents"] == ("FAILS", told)


def call_them_images(signed: dict[str, Any]) -> None:
    for row in (signed, *signed["ledger"]):
        row["adjacency"] = ADD_REMOVE


def call_one_images(signed: dict[str, Any]) -> None:
    signed["ledger"][0]["adjacency"] = ADD_REMOVE


def count_no_persons(signed: dict[str, Any]) -> None:
    facts = signed["public_facts"]
    facts["private_images"] = 7 * facts.pop("private_persons")


def count_more(signed: dict[str, Any]) -> None:
    signed["public_facts"]["private_persons"] = 5_000


def cover_the_terms_of_images(signed: dict[str, Any]) -> None:
    signed["does_not_cover"] = terms(signed | {"adjacency": ADD_REMOVE})["does_not_cover"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (call_them_images, {"statement", "adjacency", "attacks", "meaning", "terms", "card"}),
        (call_one_images, {"adjacency", "epsilon", "figures", "attacks", "meaning"}),
        (count_no_persons, {"adjacency", "delta", "card"}),
        (count_more, {"delta", "card"}),
        (cover_the_terms_of_images, {"terms"}),
    ],
)
def test_what_is_not_so_of_persons_is_named(
    change: Callable[[dict[str, Any]], None], named: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(release_of(tmp_path, persons=700), change, named, capsys)


def test_the_sentence_says_its_figures_rounded_up() -> None:
    figures = {"most_found_at_false_alarms": {"0.01": 0.0188, "0.1": 0.08}, "most_right_guesses": 0.5491}
    assert attack_sentence(figures) == (
        "Whatever the attack, it finds on average at most 1.88 % and 8 % of the private images at 1 % and 10 % of "
        "false alarms (others that it takes for private ones), and wins at most 55 % of bets at even odds on whether "
        "one image was among them."
    )


def flatter_epsilon(signed: dict[str, Any]) -> None:
    signed["epsilon"] *= 0.9


def flatter_both(signed: dict[str, Any]) -> None:
    signed["statement"] = signed["statement"].replace(signed["statement"].split("(")[1].split(",")[0], "1.5")
    signed["epsilon"] = 1.5


def spend_more(signed: dict[str, Any]) -> None:
    signed["ledger"][1]["steps"] += 20


def less_noise(signed: dict[str, Any]) -> None:
    signed["ledger"][0]["noise_multiplier"] = 0.7


def mix(signed: dict[str, Any]) -> None:
    signed["ledger"][0]["adjacency"] = "replace one image"


def rename(signed: dict[str, Any]) -> None:
    for row in (signed, *signed["ledger"]):
        row["adjacency"] = "add/remove one pixel"


def flatter_attacks(signed: dict[str, Any]) -> None:
    signed["what_an_attacker_can_do"]["most_found_at_false_alarms"]["0.01"] -= 0.02


def add_a_rate(signed: dict[str, Any]) -> None:
    said = signed["what_an_attacker_can_do"]
    said["most_found_at_false_alarms"]["0.5"] = 0.0001
    said["sentence"] = attack_sentence(said, ADD_REMOVE)


def flatter_bets(signed: dict[str, Any]) -> None:
    signed["what_an_attacker_can_do"]["most_right_guesses"] -= 0.02


def reword(signed: dict[str, Any]) -> None:
    signed["what_an_attacker_can_do"]["sentence"] = "No attack finds anything."


def flattered(*place: Any, by: float) -> Callable[[dict[str, Any]], None]:
    """A figure of the meaning that is a little better than the rows give, with a sentence that fits."""

    def change(signed: dict[str, Any]) -> None:
        inside: Any = signed["meaning"]
        for name in place[:-1]:
            inside = inside[name]
        inside[place[-1]] *= by
        part = {key: one for key, one in signed["meaning"][place[0]].items() if key != "sentence"}
        sentence = SENTENCES[place[0]](part, signed["adjacency"])
        signed["meaning"][place[0]]["sentence"] = sentence

    return change


FLATTERED = {
    "trade_off": flattered("trade_off", "least_missed_at_false_alarms", "0.05", by=1.01),
    "advantage": flattered("advantage", "most", by=0.99),
    "best_guess": flattered("best_guess", "most_right_at_prior", "0.5", by=0.99),
    "deltas": flattered("deltas", "at", 2, "delta", by=0.99),
    "gaussian": flattered("gaussian", "mu", by=0.99),
    "several_images": flattered("several_images", "epsilon_with", "4", by=0.99),
}
PLACES = {
    "trade_off": ("least_missed_at_false_alarms", "0.05"),
    "advantage": ("most",),
    "best_guess": ("most_right_at_prior", "0.01"),
    "deltas": ("at", 0, "delta"),
    "gaussian": ("mu",),
    "several_images": ("epsilon_with", "8"),
}
"""A figure of each part of the meaning, or two."""
SMALL = Cost(mechanism="x", noise_multiplier=2e4, sampling_rate=1.0, steps=2)
"""Prices of all but nothing: figures are a step of the last digit or less."""
MEANT = dict[Cost, dict[str, Any]]()


@pytest.mark.parametrize("part", PLACES)
@pytest.mark.parametrize("costs", [[STAGES["central"]], [SMALL]])
def test_less_may_be_promised_than_the_rows_give_but_not_more(
    costs: list[Cost], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if costs[0] not in MEANT:
        MEANT[costs[0]] = figures(costs, 1e-3 if costs == [SMALL] else 0.2, 1e-6)
    meant = MEANT[costs[0]]
    monkeypatch.setattr(verify_meaning, "figures", lambda *_: meant)

    def holds(change: Callable[[float], Any]) -> bool:
        said = json.loads(json.dumps(meant))
        *outer, last = part, *PLACES[part]
        inside: Any = said
        for name in outer:
            inside = inside[name]
        inside[last] = change(inside[last])
        signed = {"meaning": told(said, ADD_REMOVE), "epsilon": 0.2, "delta": 1e-6}
        return verify_meaning.meaning(signed, costs).holds

    worse, better = (0.9, 1.1) if part == "trade_off" else (1.1, 0.9)
    assert holds(lambda one: one) and holds(lambda one: one * worse) and not holds(lambda one: math.nan)
    if part in verify_meaning.SHARES:
        # A step of the last digit, and no more.
        step = math.copysign(1e-4, better - 1)
        assert holds(lambda one: one + step) and not holds(lambda one: one + 2 * step)
    else:
        assert not holds(lambda one: one * better) and not holds(lambda one: 0.0)
        assert part == "deltas" or holds(lambda one: None), "what is endless promises nothing"


def reword_the_meaning(signed: dict[str, Any]) -> None:
    signed["meaning"]["gaussian"]["sentence"] = "Nobody learns anything."


def leave_out_a_part(signed: dict[str, Any]) -> None:
    del signed["meaning"]["best_guess"]


def void(signed: dict[str, Any]) -> None:
    signed["public_facts"]["private_images"] = 10**6


def hush(signed: dict[str, Any]) -> None:
    signed["delta_beside"] = "delta is tiny"


def pay_nothing(signed: dict[str, Any]) -> None:
    signed["ledger"] = []


def flatter_rdp(signed: dict[str, Any]) -> None:
    signed["epsilon_rdp"] /= 2


def flatter_a_stage(signed: dict[str, Any]) -> None:
    signed["ledger"][0]["epsilon_alone"] = 1e-4


def price_by_magic(signed: dict[str, Any]) -> None:
    signed["priced_by"] = "magic"


def cover_everything(signed: dict[str, Any]) -> None:
    signed["covers"] = ["everything about every person"]


def leave_out_a_term(signed: dict[str, Any]) -> None:
    del signed["does_not_cover"][0]


def say_accuracy(signed: dict[str, Any]) -> None:
    signed["accuracy"] = 0.93


def count_classes(signed: dict[str, Any]) -> None:
    signed["public_facts"]["class_counts"] = [250, 4750]


def count_nobody(signed: dict[str, Any]) -> None:
    signed["public_facts"]["private_images"] = 0


def flatter_beyond_what_is_printed(signed: dict[str, Any]) -> None:
    printed = statement(signed)
    signed["epsilon"] *= 1 - 1e-5
    assert statement(signed) == printed


def rename_a_class(signed: dict[str, Any]) -> None:
    signed["public_facts"]["classes"][3] = "cat"


def swap_classes(signed: dict[str, Any]) -> None:
    signed["public_facts"]["classes"].reverse()


def add_a_class(signed: dict[str, Any]) -> None:
    signed["public_facts"]["classes"].append("10")


def enlarge(signed: dict[str, Any]) -> None:
    signed["public_facts"]["shape"] = [64, 64, 3]


def name_a_stage_twice(signed: dict[str, Any]) -> None:
    signed["ledger"][0] |= {"stage": signed["ledger"][1]["stage"], "epsilon_alone": 0.001}


def hide_choices(signed: dict[str, Any]) -> None:
    del signed["uncharged_choices"]


def promise_something(signed: dict[str, Any]) -> None:
    signed["guarantee"] = "dp+"


def soften(signed: dict[str, Any]) -> None:
    signed["statement"] += " Nobody can learn anything."


def soften_the_account(signed: dict[str, Any]) -> None:
    signed["account"]["sentence"] = "Nothing else was ever made of these images."


def tell_an_account(signed: dict[str, Any], **changed: Any) -> None:
    """Of two runs, of which this is one, in the sentence of its figures."""
    figures = {"runs": 2, "epsilon": 2 * signed["epsilon_prv"], "delta": signed["delta"], "without_guarantee": 0}
    figures |= {"of_other_units": 0} | changed
    signed["account"] = {"sentence": account_told.sentence(figures, signed["adjacency"]), **figures}


def tell_figures_of_no_account(signed: dict[str, Any]) -> None:
    signed["account"]["epsilon"] = 0.1


def flatter_all_runs(signed: dict[str, Any]) -> None:
    tell_an_account(signed, epsilon=0.9 * signed["epsilon_prv"])


def price_all_runs_at_another_delta(signed: dict[str, Any]) -> None:
    tell_an_account(signed, delta=0.01)


def tell_more_of_the_account(signed: dict[str, Any]) -> None:
    signed["account"]["folder"] = "/home/me/runs"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (soften_the_account, {"account", "card"}),
        (flatter_all_runs, {"account", "card"}),
        (price_all_runs_at_another_delta, {"account", "card"}),
        (tell_more_of_the_account, {"account", "fields"}),
        (partial(tell_an_account, without_guarantee=-1), {"account", "card"}),
        (partial(tell_an_account, of_other_units=-1), {"account", "card"}),
        (partial(tell_an_account, runs=1), {"account", "card"}),
        (tell_figures_of_no_account, {"account"}),
        (flatter_epsilon, {"statement", "epsilon", "card"}),
        (flatter_both, {"epsilon", "meaning", "card"}),
        (spend_more, {"epsilon", "figures", "attacks", "meaning"}),
        (less_noise, {"epsilon", "figures", "attacks", "meaning"}),
        (mix, {"adjacency", "epsilon", "figures", "attacks", "meaning"}),
        (pay_nothing, {"epsilon", "figures", "attacks", "meaning", "terms"}),
        (flatter_rdp, {"figures"}),
        (flatter_a_stage, {"figures"}),
        (price_by_magic, {"figures"}),
        (cover_everything, {"terms"}),
        (leave_out_a_term, {"terms"}),
        (say_accuracy, {"fields"}),
        (count_classes, {"fields"}),
        (count_nobody, {"delta", "card"}),
        (rename, {"adjacency", "card"}),
        (flatter_attacks, {"attacks"}),
        (add_a_rate, {"attacks", "fields", "card"}),
        (flatter_bets, {"attacks"}),
        (reword, {"attacks", "card"}),
        (FLATTERED["trade_off"], {"meaning"}),
        *((FLATTERED[part], {"meaning", "card"}) for part in FLATTERED if part != "trade_off"),
        (reword_the_meaning, {"meaning", "card"}),
        (leave_out_a_part, {"meaning", "card"}),
        (void, {"delta", "card"}),
        (hush, {"delta"}),
        (soften, {"statement", "card"}),
        (flatter_beyond_what_is_printed, {"epsilon", "card"}),
        (rename_a_class, {"images"}),
        (swap_classes, {"images"}),
        (add_a_class, {"images"}),
        (enlarge, {"images"}),
        (name_a_stage_twice, {"figures"}),
        (hide_choices, {"fields"}),
        (promise_something, {"fields"}),
    ],
)
def test_what_is_not_so_is_named(
    change: Callable[[dict[str, Any]], None], named: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fails(release_of(tmp_path), change, named, capsys)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release_of(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def sound(untouched: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(untouched, tmp_path / "release"))


@pytest.mark.parametrize("left_out", [*((name,) for name in ALWAYS), ("README.md", "croissant.json"), ALWAYS])
def test_what_every_release_has_is_missed_where_the_certificate_does_not_name_it(
    left_out: tuple[str, ...], sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where what is left would be edited, as one of both cards."""
    signed = json.loads((sound / "certificate.json").read_text())
    for name in left_out:
        (sound / name).unlink()
        del signed["files"][name]
    (sound / "certificate.json").write_text(json.dumps(signed))
    status, rows, last = checked(sound, capsys)
    assert status == 1 and last == "does not hold: files"
    assert all(f"{name} is not among them" in rows["files"][1] for name in left_out)


def test_a_guarantee_is_not_said_in_part_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = release_of(tmp_path, private=False) / "certificate.json"
    signed = json.loads(path.read_text())
    for more, named in (({"epsilon": 0.1}, "fields"), ({"covers": ["every released file"]}, "terms")):
        path.write_text(json.dumps(signed | more))
        assert checked(path.parent, capsys)[2] == f"does not hold: {named}"


def test_a_changed_a_missing_and_an_added_file_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path)
    (release / "README.md").write_bytes(b"weightz")
    (release / "samples.png").unlink()
    (release / "notes").mkdir()
    (release / "notes" / "scan 7.png").write_bytes(b"?")
    status, rows, _ = checked(release, capsys)
    assert status == 1
    assert rows["files"] == ("FAILS", "samples.png is missing; README.md is not the file that the certificate names")
    assert rows["nothing else"] == ("FAILS", "not covered: notes/scan 7.png")
    assert rows["epsilon"][0] == "holds"
    # An empty folder has a name.
    (release / "patient 4711").mkdir()
    assert checked(release, capsys)[1]["nothing else"] == ("FAILS", "not covered: notes/scan 7.png; patient 4711")


@pytest.mark.parametrize(
    "content",
    [None, "{", "[]", "{}", '{"guarantee": "dp"}', '{"guarantee": "dp", "ledger": [{"steps": 1}]}', '{"guarantee": 7}'],
)
def test_what_is_no_release_costs_one_sentence(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "certificate.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_a_name_that_no_folder_can_have_costs_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a" * 300]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_whole_run_is_told_which_of_its_folders(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sound.parent)]) == 2 and f": name {sound}\n" in capsys.readouterr().err


def test_it_wants_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["a", "b"]) == 2 and "RELEASE_FOLDER" in capsys.readouterr().err


def test_links_are_none_of_the_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path / "run")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "scan.png").write_bytes(b"?")
    (release / "more").symlink_to(elsewhere)
    (release / "samples.png").rename(elsewhere / "samples.png")
    (release / "samples.png").symlink_to(elsewhere / "samples.png")
    status, rows, _ = checked(release, capsys)
    assert status == 1 and rows["nothing else"] == ("FAILS", "not covered: more")
    mend = "put the files themselves there, as cp -rL FOLDER COPY does"
    assert rows["files"] == ("FAILS", f"samples.png is a link: {mend}")
    # So the mend is one, also where all are links, as in the cache of the Hugging Face Hub.
    for path in list(release.iterdir()):
        if not path.is_symlink():
            path.rename(elsewhere / path.name)
            path.symlink_to(elsewhere / path.name)
    assert (
        f"; README.md; croissant.json; disclosure.json and 2 more are links: {mend}"
        in checked(release, capsys)[1]["files"][1]
    )
    (release / "more").unlink()
    shutil.copytree(release, tmp_path / "copy")
    assert checked(tmp_path / "copy", capsys)[0] == 0


def sign_anew(release: Path, **files: bytes) -> None:
    """Other contents, with hashes that fit, and pages that say so."""
    sign(release, pages_of(sign(release, files)))


def sign(release: Path, files: Mapping[str, bytes]) -> dict[str, Any]:
    """The certificate, once it has the hashes of these."""
    path = release / "certificate.json"
    signed: dict[str, Any] = json.loads(path.read_text())
    for name, content in files.items():
        (release / name).write_bytes(content)
        signed["files"][name] = {"sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(signed))
    return signed


def test_what_the_network_holds_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    plain = {"finetune/ema/w": np.zeros(2, np.float32)}
    statement = json.loads((release_of(tmp_path / "plain") / "certificate.json").read_text())["statement"]
    about = {
        "statement": statement, "form": "raysyn network 1", "raysyn": version(), "method": "m", "preset": "p",
        "made_by": "m", "settings": {"seed": 0},
    }  # fmt: skip
    files = {"network.json": network_text(about).encode(), "network.safetensors": safetensors.save(plain)}
    release = release_of(tmp_path / "run", more=files)
    status, rows, _ = checked(release, capsys)
    assert status == 0 and rows["network"][0] == "holds"
    for name, content, said in (
        *(
            ("network.json", network_text(about | changed).encode(), said)
            for changed, said in (
                ({"counts": [3, 4]}, "may not say counts"),
                ({"settings": {"data": {"path": "scans"}}}, "may not say data"),
                ({"settings": 3}, "may not say settings"),
                ({"settings": {"network": {"width": "of Ann Smith"}}}, "may not say network.width"),
                ({"settings": {"network": {"Ann Smith": 1}}}, "may not say network.'Ann Smith'"),
                ({"settings": {"classes": {"Ann Smith": 1}}}, "may not say classes.'Ann Smith'"),
                ({"statement": "(0.1, 1e-9)"}, "says another statement"),
                ({"made_by": "other"}, "says another made_by"),
                ({"raysyn": "0.0.1"}, "says another raysyn"),
                ({"form": "raysyn network 2"}, "is not of the form"),
            )
        ),
        *(
            (
                "network.json",
                network_text({one: value for one, value in about.items() if one != name}).encode(),
                f"says nothing of {name}",
            )
            for name in about
        ),
        ("network.json", json.dumps(about).encode(), "not written as raysyn writes it"),
        ("network.json", b"[1]", "is damaged"),
        ("network.safetensors", safetensors.save({**plain, "raw": np.zeros(3, np.uint8)}), "holds raw, for which"),
        ("network.safetensors", safetensors.save(plain, {"path": "scans"}), "something beside its tensors: path"),
        ("network.safetensors", b"junk", "is damaged"),
    ):
        sign_anew(release, **files | {name: content})
        status, rows, last = checked(release, capsys)
        assert status == 1 and said in rows["network"][1] and last == "does not hold: network"


def test_a_card_that_says_more_and_images_that_are_none_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = release_of(tmp_path)
    card, described = (release / "README.md").read_text(), (release / "croissant.json").read_bytes()
    sign_anew(release, **{"README.md": card.replace("unit | one image", "unit | one hospital").encode()})
    assert checked(release, capsys)[1]["card"] == ("FAILS", "README.md: not what the certificate and the images "
                                                   "give")  # fmt: skip
    sign_anew(release, **{"README.md": card.encode(), "croissant.json": b"[1]"})
    assert checked(release, capsys)[1]["card"][1].startswith("croissant.json is damaged")
    sign_anew(release, **{"croissant.json": described, "synthetic.parquet": b"?"})
    status, rows, last = checked(release, capsys)
    assert status == 1 and last == "does not hold: contents" and "no file that raysyn released" in rows["contents"][1]


@pytest.mark.parametrize("name", ["../outside.txt", "ABSOLUTE", "folder/train/0/000000.png", "notes/x"])
def test_nothing_is_read_by_names_that_no_release_has(
    name: str, sound: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (outside := sound.parent / "outside.txt").write_text("secret")
    sign_anew(sound)
    name = str(outside) if name == "ABSOLUTE" else name
    signed = json.loads((sound / "certificate.json").read_text())
    signed["files"][name] = {"sha256": hashlib.sha256(b"secret").hexdigest()}
    (sound / "certificate.json").write_text(json.dumps(signed))
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    status, rows, last = checked(sound, capsys)
    assert status == 1 and name in rows["files"][1] and last == "does not hold: fields, files"


NO_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e999")
FIGURES = (
    '"epsilon": ',
    '"delta": ',
    '"0.01": ',
    '"most_right_guesses": ',
    '"noise_multiplier": ',
    '"epsilon_alone": ',
)


@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_no_number_is_no_figure(figure: str, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _, after = (sound / "certificate.json").read_text().partition(figure)
    _, comma, after = after.partition(",") if "," in after.partition("\n")[0] else after.partition("\n")
    for number in NO_NUMBERS:
        (sound / "certificate.json").write_text(f"{before}{figure}{number}{comma}{after}")
        assert main([str(sound)]) == 2
        assert f"it says {number}, which is no finite number" in capsys.readouterr().err


def test_comparisons_fail_on_what_is_no_number(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever parsed it."""
    signed, costs = json.loads((untouched / "certificate.json").read_text()), list(STAGES.values())
    limits = signed["what_an_attacker_can_do"]
    found = limits["most_found_at_false_alarms"]
    checks = [verifying._epsilon(signed | {"epsilon": math.nan}, costs)]
    for flattered in ({"most_right_guesses": math.nan}, {"most_found_at_false_alarms": found | {"0.01": math.nan}}):
        told = {"sentence": attack_sentence(limits | flattered)}
        checks += [verify_meaning.attacks(limits | flattered | told, costs)]
    checks += [verifying._figures(signed | {"epsilon_prv": math.nan}, costs)]
    checks += [verifying._delta(signed | {"delta": math.nan})]
    assert not [check for check in checks if check.holds]


@pytest.mark.parametrize(
    "content", ["[" * 10**5, '{"guarantee": "dp", "ledger": ' + "[" * 10**5, '{"guarantee": "dp", "guarantee": "none"}']
)
def test_what_cannot_be_parsed_costs_one_sentence(
    content: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sound / "certificate.json").write_text(content)
    assert main([str(sound)]) == 2 and capsys.readouterr().err.count("\n") == 1
    for name in ("croissant.json", "manifest.json", "network.json"):
        (sound / name).write_text(content)
    for read in (verify_contents._manifest, lambda place: verify_network._network(place, {"files": NETWORK})):
        with pytest.raises(ValueError, match="is damaged"):
            read(sound)


NETWORK = ("network.json", "network.safetensors")


@pytest.mark.parametrize("name", NETWORK)
def test_the_one_of_both_files_of_a_network_that_is_missing_is_named(
    name: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other,) = set(NETWORK) - {name}
    sign_anew(sound, **{other: b"?"})
    assert checked(sound, capsys)[1]["network"] == ("FAILS", f"{name} is missing beside {other}")


@pytest.mark.parametrize("label", [-1, 10, None])
def test_labels_are_of_the_classes(label: int | None, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(sound / "synthetic.parquet")
    labels = pa.array([label, *table["label"].to_pylist()[1:]], pa.int64())
    (sound / "synthetic.parquet").write_bytes(packed(table.set_column(1, "label", labels)))
    sign_anew(sound, **{"synthetic.parquet": (sound / "synthetic.parquet").read_bytes(), "manifest.json": b"{}"})
    status, rows, last = checked(sound, capsys)
    assert status == 1 and last == "does not hold: contents" and "labels beyond its 10 classes" in rows["contents"][1]


def test_pictures_are_of_the_shape_that_is_said(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(sound / "synthetic.parquet")
    about = json.loads(table.schema.metadata[b"dataset"]) | {"image_shape": [9, 8, 1]}
    (sound / "synthetic.parquet").write_bytes(packed(table.replace_schema_metadata({"dataset": json.dumps(about)})))
    sign_anew(sound, **{"synthetic.parquet": (sound / "synthetic.parquet").read_bytes()})
    assert "images that are no PNG files of 8 x 9" in checked(sound, capsys)[1]["contents"][1]


def chunk_more(png: bytes) -> bytes:
    text = b"tEXt" + b"who\0John"
    return png[:-12] + struct.pack(">I", 8) + text + struct.pack(">I", zlib.crc32(text)) + png[-12:]


def repacked(change: Callable[[bytes], bytes], end: bytes = b"") -> Callable[[bytes], bytes]:
    """A picture of one IDAT of other bytes, and an IEND that holds something; the sums of both fit."""

    def changed(png: bytes) -> bytes:
        packed, at = b"", 33
        while (kind := png[at + 4 : at + 8]) == b"IDAT":
            after = at + 8 + int.from_bytes(png[at : at + 4], "big")
            packed, at = packed + png[at + 8 : after], after + 4
        assert kind == b"IEND"
        return png[:33] + b"".join(
            struct.pack(">I", len(inside)) + kind + inside + struct.pack(">I", zlib.crc32(kind + inside))
            for kind, inside in ((b"IDAT", change(packed)), (b"IEND", end))
        )

    return changed


def sheet_with(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """samples.png, drawn otherwise."""

    def changed(picture: bytes) -> bytes:
        return png_bytes(change(Image.open(io.BytesIO(picture))))

    return changed


def scribbled(place: tuple[int, int]) -> Callable[[Any], Any]:
    def change(sheet: Any) -> Any:
        sheet.putpixel(place if place[0] >= 0 else (sheet.width + place[0], place[1]), (1, 2, 3))
        return sheet

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda picture: chunk_more(picture), "is no PNG file of pixels alone"),
        (lambda picture: picture + b"Jane Doe", "is no PNG file of pixels alone"),
        (sheet_with(lambda sheet: sheet.rotate(180)), "shows other images"),
        (sheet_with(scribbled((-100, 40))), "shows other images"),
        (sheet_with(scribbled((-3, 3))), "shows other images"),
        (sheet_with(lambda sheet: sheet.paste("red", (0, 0, 9, 9)) or sheet), "has colours beside its images"),
        (sheet_with(lambda sheet: sheet.crop((0, 0, sheet.width, sheet.height - 1))), "has not the size"),
        (sheet_with(lambda sheet: sheet.resize((3000, sheet.height))), "has not the size"),
        (sheet_with(lambda sheet: sheet.convert("L")), "has not the size"),
        (lambda _: b"no picture", "has not the size"),
    ],
    ids=["chunk", "tail", "turned", "pixel", "margin", "red", "cut", "wide", "grey", "none"],
)  # fmt: skip
def test_the_sheet_of_samples_shows_the_images_and_holds_nothing_else(
    change: Callable[[bytes], bytes], said: str, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_anew(sound, **{"samples.png": change((sound / "samples.png").read_bytes())})
    status, rows, _ = checked(sound, capsys)
    assert status == 1 and {name for name, (verdict, _) in rows.items() if verdict == "FAILS"} == {"samples"}
    assert said in rows["samples"][1]


def test_a_sheet_may_be_lettered_otherwise(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By another font, or by names that are written out: that is behind the hash alone, and said."""

    def wider(sheet: Any) -> Any:
        made = Image.new("RGB", (sheet.width + 31, sheet.height), "white")
        made.paste(sheet, (31, 0))
        made.putpixel((5, 40), (0, 0, 0))
        return made

    sign_anew(sound, **{"samples.png": sheet_with(wider)((sound / "samples.png").read_bytes())})
    status, rows, _ = checked(sound, capsys)
    assert status == 0 and "is grey, known by hash alone" in rows["samples"][1]


@pytest.mark.parametrize("private", [True, False])
def test_releases_that_are_there_already_pass_with_the_words_they_have(
    private: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = release_of(tmp_path, private=private)
    names = ("certificate.html", "disclosure.json", "README.md")
    then = {name: earlier(name, (release / name).read_text()) for name in names}
    assert "overflow-wrap: anywhere; }\n" in (release / names[0]).read_text().replace("code ", "")
    for words in ("h1, p, li", '"scroll"') + (() if private else ("nothing limits that", "that nothing is promised")):
        assert words not in "".join(then.values())
    if not private:
        assert (
            "and the public facts; nothing else</td>" in then[names[0]] and "whether the ledger says" in then[names[0]]
        )
    sign(release, {name: text.encode() for name, text in then.items()})
    status, rows, last = checked(release, capsys)
    assert status == 0, last
    before = "byte by byte; as an earlier raysyn wrote it: "
    assert rows["pages"][1].endswith(f"{before}{'disclosure.json and ' if private else ''}certificate.html")
    assert rows["card"][1].endswith("byte by byte" if private else f"{before}README.md")
    sign(release, {"README.md": then["README.md"].replace("synthetic images", "images").encode()})
    assert checked(release, capsys)[0] == 1


@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("foreign", [("central",), ("central", "finetune")])
def test_what_a_ledger_does_not_hold_is_not_said_of_its_mechanisms(
    foreign: tuple[str, ...], sampled: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of those that are not raysyn's own no clipping and no noise; releases that said it already pass."""
    for stage, cost in dict(STAGES).items():
        mechanism = "noisy sum" if stage in foreign else cost.mechanism
        rate, steps = (cost.sampling_rate, cost.steps) if sampled else (1.0, 1)
        changed = replace(cost, mechanism=mechanism, sampling_rate=rate, steps=steps)
        monkeypatch.setitem(STAGES, stage, changed)
    release = release_of(tmp_path)
    names = ("certificate.html", "disclosure.json")
    now = {name: (release / name).read_text() for name in names}
    for name, text in now.items():
        assert f"s the code of its method says{sampling(foreign, sampled)} ({', '.join(foreign)})" in text
        assert ("lipping and Gaussian noise" in text) == (len(foreign) == 1)
        before = earlier(name, text)
        assert "code of its method" not in before and ("oisson sampling, clipping" in before) == sampled
        assert "lipping and Gaussian noise, drawn from the operating system" in before
    assert checked(release, capsys)[0] == 0
    sign(release, {name: earlier(name, text).encode() for name, text in now.items()})
    status, rows, _ = checked(release, capsys)
    assert status == 0
    assert rows["pages"][1].endswith("as an earlier raysyn wrote it: disclosure.json and certificate.html")


def sampling(foreign: Sequence[str], sampled: bool) -> str:
    return ", with Poisson sampling" if sampled and len(foreign) == len(STAGES) else ""


@pytest.mark.parametrize("persons", [None, 700])
def test_releases_with_the_terms_and_pages_that_were_written_last_pass(
    persons: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = release_of(tmp_path, persons=persons)
    path = release / "certificate.json"
    signed = json.loads(path.read_text())
    path.write_text(json.dumps(signed | earlier_terms(signed["adjacency"])))
    pages = pages_of(json.loads(path.read_text()))
    assert signed["account"]["sentence"] in pages["certificate.html"].decode()
    then = {name: later(name, text.decode()).encode() for name, text in pages.items()}
    assert b"--on.storage, in the account" in then["disclosure.json"]
    assert not re.search("run alone|that the machines share|may come from", then["certificate.html"].decode())
    sign(release, then)
    status, rows, last = checked(release, capsys)
    assert status == 0, last
    assert rows["terms"][1] == "are what an earlier raysyn certified"
    assert rows["pages"][1].endswith("as an earlier raysyn wrote it: disclosure.json and certificate.html")
    # Those in between, which differ by two lines.
    between = {name: [before(line) for line in signed[name]] for name in ("covers", "does_not_cover")}
    assert between != {name: signed[name] for name in between}
    path.write_text(json.dumps(signed | between))
    sign(release, pages_of(json.loads(path.read_text())))
    status, rows, last = checked(release, capsys)
    assert status == 0, last
    assert rows["terms"][1] == "are what an earlier raysyn certified"
    path.write_text(json.dumps(json.loads(path.read_text()) | earlier_terms(signed["adjacency"])))
    # Terms of both at once are nobody's.
    path.write_text(json.dumps(json.loads(path.read_text()) | {"covers": signed["covers"]}))
    assert checked(release, capsys)[1]["terms"][0] == "FAILS"


@pytest.mark.parametrize("commit", sorted(path.name for path in RELEASES.iterdir()))
def test_a_release_that_an_earlier_raysyn_wrote_passes(commit: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Their bytes: by the code of that commit, `raysyn noisy_means quick --synthetic 20`."""
    status, rows, last = checked(RELEASES / commit, capsys)
    assert status == 0, last
    assert rows["terms"][1] == "are what an earlier raysyn certified"


def test_a_share_of_1_over_n_that_was_rounded_to_the_nearest_passes(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sound / "certificate.json"
    signed = json.loads(path.read_text())
    signed["public_facts"]["private_images"] = n = 124_900
    path.write_text(json.dumps(signed | {"delta_beside": earlier_delta(signed["delta"], n, "image")}))
    verdict, told = checked(sound, capsys)[1]["delta"]
    assert verdict == "holds" and told.startswith("delta is 0.12 of 1/n, which is much: ")
    assert delta_beside(signed["delta"], n).startswith("delta is 0.13 of 1/n, which is much: ")
    path.write_text(json.dumps(signed | {"delta_beside": "delta is 0.11 of 1/n"}))
    assert checked(sound, capsys)[1]["delta"][0] == "FAILS"


def before(line: str) -> str:
    exists = "that this release exists: input that cannot be used is refused, which tells of it"
    if line.startswith("that this release exists: "):
        return exists
    return re.sub("; and what a tracker was told: how long stages(, and parts of DP-SGD,)? took$", "", line)


def test_what_was_said_of_one_class_and_one_image_is_known() -> None:
    one = "- there is 1 private image\n- there is 1 class, and what it is called"
    assert (
        earlier("disclosure.json", one)
        == "- there are 1 private images\n- there are 1 classes, and what they are called"
    )
    domain = '"data_domain": "images of 8 x 8 x 1'
    assert earlier("disclosure.json", f'{domain}"') == f'{domain} with a class each"'
    assert earlier("disclosure.json", f'{domain} with a class each"') == f'{domain} with a class each"'
    assert earlier("README.md", "grey, of 1 class: a") == "grey, of 1 classes: a"
    assert earlier("croissant.json", one) == one


@pytest.mark.parametrize(("by", "said"), [(version(), False), ("0.0.3", True)])
def test_another_version_is_no_reason_where_it_is_the_same(
    by: str, said: bool, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sound / "certificate.json"
    signed = json.loads(path.read_text())
    signed |= {"delta": "small", "made_by": {**signed["made_by"], "raysyn": by}}
    path.write_text(json.dumps(signed))
    assert main([str(sound)]) == 2
    told = capsys.readouterr().err
    assert "certificate.json is damaged" in told and (f"of another version of raysyn (made by {by}" in told) == said


def other_sum(at: int) -> Callable[[bytes], bytes]:
    """A picture with a wrong sum of a chunk, which decoders may pass over."""
    return lambda png: png[:at] + bytes([png[at] ^ 1]) + (png[at + 1 :] if at + 1 else b"")


def metadata(name: bytes, /, **more: Any) -> Callable[[Any], Any]:
    def changed(table: Any) -> Any:
        said = table.schema.metadata
        return table.replace_schema_metadata(said | {name: json.dumps(json.loads(said.get(name, b"{}")) | more)})

    return changed


def pictures(change: Callable[[bytes], bytes]) -> Callable[[Any], Any]:
    def changed(table: Any) -> Any:
        import pyarrow as pa

        return table.set_column(0, "image", pa.array([change(one) for one in table["image"].to_pylist()], pa.binary()))

    return changed


def column(at: int, name: str, value: Any) -> Callable[[Any], Any]:
    return lambda table: table.set_column(at, name, [[value] * table.num_rows])


TAMPERED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bytes after a picture": (pictures(lambda one: one + b"PRIVATE"), "no PNG files"),
    "words in a picture": (pictures(chunk_more), "no PNG files"),
    "bytes after the pixels": (pictures(repacked(lambda packed: packed + b"PRIVATE")), "no PNG files"),
    "more lines than are shown": (
        pictures(repacked(lambda packed: zlib.compress(zlib.decompress(packed) + b"PRIVATE"))),
        "no PNG files",
    ),
    "a line too few": (pictures(repacked(lambda packed: zlib.compress(zlib.decompress(packed)[:-9]))), "no PNG files"),
    "pixels without their sum": (pictures(repacked(lambda packed: packed[:-4])), "no PNG files"),
    "pixels with another sum": (pictures(repacked(lambda packed: packed[:-4] + b"JOHN")), "no PNG files"),
    "words at the end": (pictures(repacked(bytes, b"PRIVATE")), "no PNG files"),
    "another sum of the head": (pictures(other_sum(32)), "no PNG files"),
    "another sum of pixels": (pictures(other_sum(-13)), "no PNG files"),
    "another sum of the end": (pictures(other_sum(-1)), "no PNG files"),
    "a picture cut off": (pictures(lambda one: one[:-20]), "no PNG files"),
    "pixels cut off": (pictures(lambda one: one[:33] + b"\0\0\0\0IDAT\x35\xaf\x06\x1e" + one[-12:]), "no PNG files"),
    "no images": (lambda table: table.slice(0, 0), "no images"),
    "names of classes for another reader": (metadata(b"huggingface", info={"features": {}}), "metadata"),
    "more metadata": (metadata(b"patients", who="John"), "metadata"),
    "a name that begins a line": (metadata(b"dataset", name="x\n# Epsilon 0.1"), "holds a line break"),
    "a class that begins a line": (metadata(b"dataset", classes=[*"012345678", "9\n\n# Safe"]), "holds a line break"),
    "more words": (metadata(b"dataset", promise="all"), "metadata"),
    "another split": (column(2, "split", "patient 17"), "not for training"),
    "labels of another kind": (column(1, "label", 1.0), "not the columns of a release"),
    "one column less": (lambda table: table.drop_columns(["split"]), "not the columns of a release"),
    "a column more": (lambda table: table.append_column("age", [[9] * table.num_rows]), "not the columns of a release"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_nothing_is_hidden_in_the_file_of_images(kind: str, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    change, words = TAMPERED[kind]
    (sound / "synthetic.parquet").write_bytes(packed(change(pq.read_table(sound / "synthetic.parquet"))))
    sign_anew(sound, **{"synthetic.parquet": (sound / "synthetic.parquet").read_bytes()})
    status, rows, _ = checked(sound, capsys)
    assert status == 1 and rows["contents"][0] == "FAILS" and words in rows["contents"][1]


def test_a_small_file_that_unpacks_to_more_than_there_is_memory_for_is_not_unpacked(
    sound: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(path := sound / "synthetic.parquet")
    nulls = pa.table({name: pa.nulls(10**6, table[name].type) for name in table.column_names}, table.schema)
    rows = table.num_rows
    long_word = table.set_column(2, table.schema.field("split"), pa.array(["x" * 2000] * rows))
    soft = pa.array([[None] * 10**6, *[[0.1] * 10] * (rows - 1)], pa.list_(pa.float32()))
    many = table
    for number in range(20):
        many = many.append_column(f"more{number}", pa.nulls(rows, pa.int64()))
    written = {
        "its column split says more than one word": lambda: path.write_bytes(packed(long_word)),
        "soft labels that are not a number for each class": lambda: path.write_bytes(
            packed(table.append_column("soft_label", soft))
        ),
        "has not the columns of a release": lambda: path.write_bytes(packed(many)),
        "packed by UNCOMPRESSED": lambda: pq.write_table(table, path, compression="none"),
        "packed by ZSTD": lambda: pq.write_table(table, path, compression="zstd", use_dictionary=False),
        "1,000,000 images, for which it is too small": lambda: path.write_bytes(packed(nulls)),
    }
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was unpacked"))
    for words, write in written.items():
        write()
        sign_anew(sound, **{path.name: path.read_bytes()})
        status, rows, _ = checked(sound, capsys)
        assert status == 1 and words in rows["contents"][1], rows["contents"]


def test_what_a_release_says_in_words_is_what_its_run_could_say(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    path, about = sound / "croissant.json", json.loads((sound / "croissant.json").read_text())
    for licence in ("cc-by\n# Epsilon 0.1", {"of": "Ann Smith"}, ["Ann Smith"], 3, ""):
        sign_anew(sound, **{path.name: json.dumps(about | {"license": licence}).encode()})
        assert checked(sound, capsys)[1]["card"][1].startswith("croissant.json is damaged"), licence
    signed = json.loads((sound / "certificate.json").read_text())
    for field, value in (
        ("public_networks", [{"name": "net.pt", "sha256": "Ann Smith"}]),
        ("public_images", [{"sets": ["a"], "images": 1, "sha256": "AB" * 32, "validation_images": 1,
                            "validation_sha256": "0" * 64}]),
    ):  # fmt: skip
        (sound / "certificate.json").write_text(json.dumps(signed | {field: value}))
        assert f"may not say {field}[].sha256" in checked(sound, capsys)[1]["fields"][1]
    (sound / "certificate.json").write_text(json.dumps(signed))
    images = digits(20)
    sign_anew(sound, **{"synthetic.parquet": parquet_bytes(images, "synthetic Ann Smith")})
    assert checked(sound, capsys)[1]["images"] == ("FAILS", "name is synthetic s, not synthetic Ann Smith")
    assert pq.read_metadata(sound / "synthetic.parquet").num_rows == 20


def test_a_file_that_no_ledger_speaks_of_is_in_no_release_with_a_promise(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_anew(sound, **{"student.pt": b"private weights"})
    assert "student.pt may not leave of a run with a promise" in checked(sound, capsys)[1]["fields"][1]


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder"])
def test_a_certificate_is_a_file(kind: str, sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path := sound / "certificate.json").unlink()
    {"a pipe": lambda: os.mkfifo(path), "a device": lambda: path.symlink_to("/dev/zero"), "a folder": path.mkdir}[
        kind
    ]()
    assert main([str(sound)]) == 2 and "it is no file" in capsys.readouterr().err


def test_a_certificate_is_no_link(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, elsewhere = sound / "certificate.json", sound.parent / "elsewhere.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    status, rows, _ = checked(sound, capsys)
    assert status == 1 and "certificate.json is a link: " in rows["files"][1]


def test_words_of_damage_move_no_cursor(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = json.dumps("\x1b[2Jholds everything")
    (sound / "certificate.json").write_text(f"{{{words}: 1, {words}: 2}}")
    assert main([str(sound)]) == 2
    assert "\x1b" not in (said := capsys.readouterr().err) and "twice" in said


def test_words_of_a_certificate_are_no_lines_of_ours(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sound / "certificate.json"
    signed = json.loads(path.read_text())
    for row in (signed, *signed["ledger"]):
        row["adjacency"] = "x\nholds  adjacency  \x1b[2J\ud800"
    path.write_text(json.dumps(signed))
    assert main([str(sound)]) == 1
    out = capsys.readouterr().out
    assert out.count("\nholds  adjacency") == 0 and "\x1b" not in out and r"\x1b[2J\ud800" in out


def test_no_certificate_gives_a_traceback(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything in the place of anything: checks, or one sentence."""
    signed = json.loads((sound / "certificate.json").read_text())
    costs, images = list(STAGES.values()), verify_contents.images_in(sound)
    # One point of the curve is as good as all of them.
    signed["meaning"]["trade_off"]["least_missed_at_false_alarms"] = {"0.1": 0.5}
    prices = {by: priced(costs, 1e-6, by) for by in ("prv", "rdp")}
    limits, meant = attack_limits(costs), figures(costs, 1.0, 1e-6)

    def price(costs: list[Cost], delta: float, accountant: str) -> Any:
        kinds_of(costs)
        return prices[accountant] if 0 < delta < 1 else priced(costs, delta, accountant)

    def limited(costs: list[Cost]) -> Any:
        kinds_of(costs)
        return limits

    # What is slow, and told apart elsewhere.
    monkeypatch.setattr(verifying, "priced", price)
    monkeypatch.setattr(verify_meaning, "attack_limits", limited)
    monkeypatch.setattr(verify_meaning, "figures", lambda costs, *_: limited(costs) and meant)
    monkeypatch.setattr(verify_contents, "images_in", lambda release: images)
    sheet = verify_samples.samples(sound, images)
    monkeypatch.setattr(verify_samples, "samples", lambda *_: sheet)
    for what, other in damaged(signed):
        # As it would be parsed, but for what is no number, which a parser refuses.
        monkeypatch.setattr(verifying, "parsed", lambda text, other=other: other)
        try:
            assert verify(sound), what
        except ValueError as error:
            assert "damaged" in str(error), what


@pytest.mark.parametrize(
    ("name", "now", "before"),
    [
        (CARD, ", of 1,001 classes: ", ", of 1001 classes: "),
        (DISCLOSURE, "there are 1,001 classes, and", "there are 1001 classes, and"),
        (CARD, ", of 1 class: image", ", of 1 classes: image"),
        (DISCLOSURE, "there is 1 private image", "there are 1 private images"),
        (DISCLOSURE, '"data_domain": "images of 8 x 8 x 1"', '"data_domain": "images of 8 x 8 x 1 with a class each"'),
    ],
)
def test_what_was_written_before_is_known_by_its_words(name: str, now: str, before: str) -> None:
    assert earlier(name, now) == before


@pytest.mark.parametrize(
    ("name", "holds"), [("W" * 255, True), ("a caption " * 150, True), ("a caption " * 300, False)]
)
def test_a_sheet_may_have_long_names_in_full(
    name: str, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it had once, before they were cut off."""
    monkeypatch.setattr(sheets, "LONGEST", len(name))
    images = replace(digits(20), class_names=(name, *"123456789"))
    (tmp_path / "samples.png").write_bytes(png_bytes(sheets.sample_sheet(images)))
    each = [png_bytes(image) for image in images.images_NHWC]
    released = verify_contents.Images("s", (8, 8, 1), images.class_names, images.labels_N, each, False, False)
    assert verify_samples.samples(tmp_path, released).holds == holds


def test_a_sheet_of_samples_may_be_larger_than_what_pillow_takes_for_a_bomb(
    sound: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert checked(sound, capsys)[0] == 0 and Image.MAX_IMAGE_PIXELS == 100
