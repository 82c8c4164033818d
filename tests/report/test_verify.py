"""What a recipient finds out from release/ alone: a sound one passes, and each thing that is not so is named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_stand_in import digits

from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, delta_beside
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.report.release import attack_sentence, certificate, does_not_cover, write_release
from raysyn.report.report import dp_section, no_dp_section
from raysyn.report.verify import main
from raysyn.runs.folder import RunFolder

STAGES = {
    "central": Cost(mechanism="means", noise_multiplier=5.0, sampling_rate=0.1, steps=5, note="parallel"),
    "finetune": Cost(mechanism="DP-SGD", noise_multiplier=1.3, sampling_rate=0.05, steps=200),
}

STUDENT = {"student.pt": b"weights"}


def release_of(
    out: Path, accountant: str = "prv", private: bool = True, more: Mapping[str, bytes] = STUDENT,
    persons: int | None = None,
) -> Path:  # fmt: skip
    """A release of digits by a run that paid for two stages, or promises nothing."""
    adjacency = ADD_REMOVE if persons is None else ADD_REMOVE_PERSON
    stages = {stage: replace(cost, adjacency=adjacency) for stage, cost in STAGES.items()}
    with RunFolder.open(out, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        plan = Plan(stages=stages, delta=1e-6, accountant=accountant, epsilon_budget=9.0)
        ledger = Ledger(plan, folder.ledger)
        for stage, cost in stages.items():
            ledger.pay(stage, Release(None, cost))
        privacy = dp_section(plan, ledger) if private else no_dp_section()
        terms = certificate(
            privacy, method="m", name="s", n=5_000, shape=(8, 8, 1), class_names=list("0123456789"), persons=persons
        )
        write_release(folder, digits(20), terms, name="x", more=more)
    return out / "release"


def checked(release: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]], str]:
    """(status, {check: (verdict, what was found)}, the last line)."""
    status = main([str(release)])
    *lines, last = capsys.readouterr().out.splitlines()
    names = ("promise", "statement", "adjacency", "epsilon", "figures", "attacks", "delta", "terms", "fields", "files",
             "card", "layouts", "network", "contents",
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
        assert len(rows) == 11 and f"by {accountant.upper()} from the 2 rows" in rows["epsilon"][1]
    else:
        assert "no differential privacy" in rows["promise"][1]


def test_a_sound_release_of_persons_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path, persons=700)
    status, rows, _ = checked(release, capsys)
    assert status == 0 and {verdict for verdict, _ in rows.values()} == {"holds"} and len(rows) == 11
    assert rows["adjacency"][1] == ADD_REMOVE_PERSON and "of the private persons at" in rows["attacks"][1]
    signed = json.loads((release / "certificate.json").read_text())
    assert "any one person with all their images" in signed["statement"]
    assert signed["delta_beside"] == delta_beside(1e-6, 700) != delta_beside(1e-6, 5_000)
    for text in ((release / name).read_text() for name in ("README.md", "croissant.json")):
        assert "one person with all their images" in text and "one image" not in text


def call_them_images(signed: dict[str, Any]) -> None:
    for row in (signed, *signed["ledger"]):
        row["adjacency"] = ADD_REMOVE


def call_one_images(signed: dict[str, Any]) -> None:
    signed["ledger"][0]["adjacency"] = ADD_REMOVE


def count_no_persons(signed: dict[str, Any]) -> None:
    del signed["public_facts"]["private_persons"]


def count_more(signed: dict[str, Any]) -> None:
    signed["public_facts"]["private_persons"] = 5_000


def cover_the_terms_of_images(signed: dict[str, Any]) -> None:
    signed["does_not_cover"] = does_not_cover(ADD_REMOVE)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (call_them_images, {"statement", "adjacency", "attacks", "terms", "card"}),
        (call_one_images, {"adjacency", "epsilon", "figures", "attacks"}),
        (count_no_persons, {"adjacency", "delta", "card"}),
        (count_more, {"delta", "card"}),
        (cover_the_terms_of_images, {"terms"}),
    ],
)
def test_what_is_not_so_of_persons_is_named(
    change: Callable[[dict[str, Any]], None], named: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = release_of(tmp_path, persons=700)
    signed = json.loads((release / "certificate.json").read_text())
    change(signed)
    (release / "certificate.json").write_text(json.dumps(signed))
    status, rows, _ = checked(release, capsys)
    assert status == 1 and {name for name, (verdict, _) in rows.items() if verdict == "FAILS"} == named


def test_the_sentence_says_its_figures_rounded_up() -> None:
    figures = {"most_found_at_false_alarms": {"0.01": 0.0188, "0.05": 0.08125}, "most_right_guesses": 0.5491}
    assert attack_sentence(figures) == (
        "Whatever the attack, it finds at most 1.88 % and 8.13 % of the private images at 1 % and 5 % of false alarms, "
        "and wins at most 55 % of bets at even odds on whether one image was among them."
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


def flatter_bets(signed: dict[str, Any]) -> None:
    signed["what_an_attacker_can_do"]["most_right_guesses"] -= 0.02


def reword(signed: dict[str, Any]) -> None:
    signed["what_an_attacker_can_do"]["sentence"] = "No attack finds anything."


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


def soften(signed: dict[str, Any]) -> None:
    signed["statement"] += " Nobody can learn anything."


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (flatter_epsilon, {"statement", "epsilon", "card"}),
        (flatter_both, {"epsilon", "card"}),
        (spend_more, {"epsilon", "figures", "attacks"}),
        (less_noise, {"epsilon", "figures", "attacks"}),
        (mix, {"adjacency", "epsilon", "figures", "attacks"}),
        (pay_nothing, {"epsilon", "figures", "attacks"}),
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
        (flatter_bets, {"attacks"}),
        (reword, {"attacks", "card"}),
        (void, {"delta", "card"}),
        (hush, {"delta"}),
        (soften, {"statement", "card"}),
    ],
)
def test_what_is_not_so_is_named(
    change: Callable[[dict[str, Any]], None], named: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = release_of(tmp_path) / "certificate.json"
    signed = json.loads(path.read_text())
    change(signed)
    path.write_text(json.dumps(signed))
    status, rows, last = checked(path.parent, capsys)
    assert status == 1 and {name for name, (verdict, _) in rows.items() if verdict == "FAILS"} == named
    assert last.startswith("does not hold: ") and all(name in last for name in named)


def test_a_release_of_before_there_were_cards_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path)
    signed = json.loads((release / "certificate.json").read_text())
    for name in ("README.md", "croissant.json"):
        (release / name).unlink()
        del signed["files"][name]
    (release / "certificate.json").write_text(json.dumps(signed))
    status, rows, _ = checked(release, capsys)
    assert status == 0 and "card" not in rows


def test_a_changed_a_missing_and_an_added_file_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = release_of(tmp_path)
    (release / "student.pt").write_bytes(b"weightz")
    (release / "samples.png").unlink()
    (release / "notes").mkdir()
    (release / "notes" / "scan 7.png").write_bytes(b"?")
    status, rows, _ = checked(release, capsys)
    assert status == 1
    assert rows["files"] == ("FAILS", "samples.png is missing; student.pt is not the file that was signed")
    assert rows["nothing else"] == ("FAILS", "not covered: notes/scan 7.png")
    assert rows["epsilon"][0] == "holds"


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
    assert rows["files"] == ("FAILS", "samples.png is a link: put the file itself there")


def sign_anew(release: Path, **files: bytes) -> None:
    """Other contents, with hashes that fit."""
    path = release / "certificate.json"
    signed = json.loads(path.read_text())
    for name, content in files.items():
        (release / name).write_bytes(content)
        signed["files"][name] = {"sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(signed))


def test_what_the_network_holds_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    plain = {"finetune/ema/w": np.zeros(2, np.float32)}
    statement = json.loads((release_of(tmp_path / "plain") / "certificate.json").read_text())["statement"]
    about = {"statement": statement, "form": "raysyn network 1", "method": "m", "made_by": "m", "settings": {"seed": 0}}
    files = {"network.json": json.dumps(about).encode(), "network.safetensors": safetensors.save(plain)}
    release = release_of(tmp_path / "run", more=files)
    status, rows, _ = checked(release, capsys)
    assert status == 0 and rows["network"][0] == "holds"
    for name, content, said in (
        ("network.json", json.dumps(about | {"counts": [3, 4]}).encode(), "may not say counts"),
        ("network.json", json.dumps(about | {"settings": {"data": {"path": "scans"}}}).encode(), "may not say data"),
        ("network.json", json.dumps(about | {"settings": 3}).encode(), "may not say settings"),
        ("network.json", json.dumps(about | {"statement": "(0.1, 1e-9)"}).encode(), "says another statement"),
        ("network.json", json.dumps(about | {"made_by": "other"}).encode(), "says another made_by"),
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
