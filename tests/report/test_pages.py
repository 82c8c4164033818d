"""What tells a certificate otherwise: disclosure.json for machines and examiners, certificate.html for two sheets."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_stand_in import central, digits, privacy, report
from scipy.stats import norm

from raysyn.privacy import tradeoff
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost
from raysyn.privacy.ledger import cost_of
from raysyn.report.disclosure import BY_THE_CURATOR, disclosed
from raysyn.report.meaning import CAPTION, SENTENCES, _down_to_4_digits, figures, meaning
from raysyn.report.page import page
from raysyn.report.release import SPENT, certificate, declare, pages_of, write_release
from raysyn.report.report import no_dp_section
from raysyn.report.run_page import render
from raysyn.report.verify import verify
from raysyn.runs.folder import RunFolder
from raysyn.runs.may_leave import ALARMS


def terms(private: bool = True, **more: Any) -> dict[str, Any]:
    """A certificate, with the hash of its images."""
    section = privacy() if private else no_dp_section(["tuned by hand"])
    told = certificate(section, method="m", name="a <b>set</b>", n=600, shape=(8, 8, 1), class_names=["0", "<1>"])
    return {**told, "files": {"synthetic.parquet": {"sha256": "ab" * 32}}, **more}


def of_persons() -> dict[str, Any]:
    section = privacy()
    for row in (section, *section["ledger"]):
        row["adjacency"] = ADD_REMOVE_PERSON
    section["meaning"] = meaning([cost_of(row) for row in section["ledger"]], 9.9912, 1.5149e-6)
    told = certificate(section, method="m", name="s", n=600, shape=(8, 8, 1), class_names=["0"], persons=70)
    return {**told, "files": {"synthetic.parquet": {"sha256": "ab" * 32}}}


def test_the_fields_of_the_registry_are_there_and_what_only_the_curator_knows_is_left_to_them() -> None:
    told = disclosed(terms())["deployment"]
    assert told.keys() == {"basic", "dp_variant", "privacy_loss", "deployment_model", "implementation"}
    assert {name for name, value in told["basic"].items() if value is None} == set(BY_THE_CURATOR)
    assert told["privacy_loss"]["privacy_parameters"] == {"epsilon": 9.9912, "delta": 1.5149e-6}
    assert told["privacy_loss"]["number_of_privacy_units"] == 600
    (choice,) = privacy()["uncharged_choices"]
    assert told["implementation"]["preprocessing_and_hyperparameter_tuning"] == f"- {choice}"
    central, finetune, _ = told["implementation"]["mechanisms"].splitlines()
    assert "5 Gaussian answers each about a Poisson sample at rate 0.1, noise 5 times" in central
    assert "2,197 Gaussian answers" in finetune and "epsilon 9.95" in finetune
    assert told["deployment_model"]["model_name"] == "Central" and "PRV" in told["implementation"]["composition"]


@pytest.mark.parametrize("field", [field for field in SPENT if field not in ("epsilon", "delta", "adjacency")])
def test_what_an_older_version_did_not_say_of_privacy_is_not_certified(field: str) -> None:
    older = {key: value for key, value in privacy().items() if key != field}
    with pytest.raises(ValueError, match=f"privacy has no {field}, as it would be of another version"):
        certificate(older, method="m", name="s", n=600, shape=(8, 8, 1), class_names=["0"])


@pytest.mark.parametrize("make", [terms, of_persons, lambda: terms(private=False)])
def test_the_registry_is_told_texts_and_numbers(make: Callable[[], dict[str, Any]]) -> None:
    """As its schema has them, but for what only the curator knows."""
    for group in disclosed(make())["deployment"].values():
        parameters = group.pop("privacy_parameters", {})
        values = [*group.values(), *parameters.values()]
        assert values and all(type(one) in (str, int, float, type(None)) for one in values)


def test_sampling_is_told_of_where_there_was_any() -> None:
    told = terms()
    for rates, sampled in (((1.0, 1.0), False), ((1.0, 0.1), True)):
        rows = [{**told["ledger"][0], "mechanism": "DP-SGD", "sampling_rate": rate} for rate in rates]
        made = {**told, "ledger": rows}
        for text in (page(made), json.dumps(disclosed(made))):
            assert ("Poisson sampling, clipping" in text) == sampled
            assert ("Clipping and Gaussian noise, drawn" in text) != sampled


def test_the_unit_is_that_of_the_promise() -> None:
    image, person = disclosed(terms()), disclosed(of_persons())
    for told, level, words in ((image, "Record-level", "One image"), (person, "User-level", "One person with all")):
        assert told["deployment"]["privacy_loss"]["privacy_unit"] == level
        assert told["nist_sp_800_226"]["unit_of_privacy"].startswith(words)
    assert person["deployment"]["privacy_loss"]["number_of_privacy_units"] == 70
    assert "there are 70 private persons" in person["deployment"]["dp_variant"]["unprotected_quantities"]
    assert "one image" not in json.dumps(person["deployment"]) + page(of_persons())


def test_without_a_guarantee_nothing_is_disclosed_as_one() -> None:
    told = disclosed(terms(private=False))
    assert told.keys() == {"statement", "made_from", "deployment"} and "none" in json.dumps(told["deployment"])
    text = page(terms(private=False))
    assert "NO differential privacy guarantee" in text and "tuned by hand" in text
    assert not re.search("psilon|attacker|covers|<svg|ledger|secret|nothing else|NIST", text)
    assert "whatever can be learned of the private images" in text and "no promise to disclose" in text


def test_one_class_is_no_label_and_one_is_no_many() -> None:
    for count, classes, domain in ((1, "there is 1 class, and what it is called", "images of 8 x 8 x 1"),
                                   (2, "there are 2 classes", "images of 8 x 8 x 1 with a class each")):  # fmt: skip
        made = terms()
        made["public_facts"] |= {"classes": ["a", "b"][:count], "private_images": count}
        kind = disclosed(made)["deployment"]["dp_variant"]
        assert kind["data_domain"] == domain and classes in kind["unprotected_quantities"] and classes in page(made)
        assert f"there {'is' if count == 1 else 'are'} {count} private image" in page(made)


class Seen(HTMLParser):
    """Whether what is opened is closed, and what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("make", [terms, of_persons, lambda: terms(private=False)])
def test_the_page_fetches_and_runs_nothing_and_shows_all_of_the_promise(make: Callable[[], dict[str, Any]]) -> None:
    signed = make()
    text = page(signed)
    seen = Seen()
    seen.feed(text)
    assert not seen.open and not seen.tags & {"script", "link", "img", "iframe", "object", "a"}
    assert not re.search(r"https?:|@import|url\(|\b(None|null|nan|undefined|Undefined)\b", text)
    assert "<b>set" not in text and "<1>" not in text, "names are no markup"
    assert "@page { size: A4" in text and signed["files"]["synthetic.parquet"]["sha256"] in text
    shown = text.replace("&#39;", "'")
    sentences = [part["sentence"] for part in signed.get("meaning", {}).values()]
    for words in (signed["statement"], *signed["covers"], *signed.get("does_not_cover", []), *sentences):
        assert words in shown
    for row in signed.get("ledger", []):
        assert row["mechanism"] in shown
    assert text == page(json.loads(json.dumps(signed))), "made anew from the file it is the same"


@pytest.mark.parametrize("name", ["so-called", "what they are called", "s"])
def test_names_of_classes_are_told_once_whatever_the_set_is_called(name: str) -> None:
    named = terms()
    named["public_facts"] |= {"name": name, "classes": ["zwei", "drei"]}
    assert page(named).count("zwei, drei") == 1


def test_many_classes_do_not_fill_a_sheet() -> None:
    many = terms()
    many["public_facts"]["classes"] = [f"class {at}" for at in range(500)]
    assert "class 11, and 488 more" in page(many) and "class 12" not in page(many)


def written(out: Path) -> Path:
    with RunFolder.open(out, method="m", preset="p", config={}, data_fingerprint="f") as folder:
        told = certificate(no_dp_section(), method="m", name="s", n=9, shape=(8, 8, 1), class_names=list("0123456789"))
        write_release(folder, digits(20), told, name="synthetic s")
    return out / "release"


def test_what_is_declared_later_is_on_the_pages_too(tmp_path: Path) -> None:
    release = written(tmp_path / "run")
    declare(str(tmp_path / "run"), "chosen among 9 by accuracy")
    signed = json.loads((release / "certificate.json").read_text())
    for name, content in pages_of(signed).items():
        assert (release / name).read_bytes() == content and b"chosen among 9" in content + page(signed).encode()
    assert all(check.holds for check in verify(release))


@pytest.mark.parametrize("name", ["disclosure.json", "certificate.html"])
def test_an_edited_page_is_found_whatever_hash_is_signed(name: str, tmp_path: Path) -> None:
    release = written(tmp_path / "run")
    edited = (release / name).read_bytes().replace(b"NO differential", b"a differential")
    (release / name).write_bytes(edited)
    signed = json.loads((release / "certificate.json").read_text())
    signed["files"][name]["sha256"] = hashlib.sha256(edited).hexdigest()
    (release / "certificate.json").write_text(json.dumps(signed))
    assert [check.name for check in verify(release) if not check.holds] == ["pages"]


def test_a_meaning_of_persons_says_persons() -> None:
    costs = [Cost(mechanism="x", noise_multiplier=3.0, sampling_rate=0.1, steps=9, adjacency=ADD_REMOVE_PERSON)]
    told = meaning(costs, 1.0, 1e-5)
    assert "several_images" not in told and not any("image was" in part["sentence"] for part in told.values())
    assert "one person with all their images" in told["best_guess"]["sentence"]
    endless = meaning([Cost(mechanism="x", noise_multiplier=1e-4, sampling_rate=1.0, steps=1)], 1e6, 1e-5)
    assert endless["gaussian"]["mu"] is None and set(endless["several_images"]["epsilon_with"].values()) == {None}
    assert endless["several_images"]["sentence"].endswith("with 2, 4 or 8 images epsilon is more than can be said.")
    assert "No mu is given" in endless["gaussian"]["sentence"] and "may find all" in endless["gaussian"]["sentence"]


@pytest.mark.parametrize(
    ("part", "figures", "said"),
    [
        ("deltas", [0.3, 0.02], "at epsilon 1 and 2 delta is at most 0.3 and 0.02."),
        ("deltas", [1, 0.02], "at epsilon 2 delta is at most 0.02, at epsilon 1 nothing is promised."),
        ("deltas", [1, 1.0], "at epsilon 1 and 2 nothing is promised."),
        ("several_images", [3.0, 9.01], "with 2 or 4 images epsilon is 3 or 9.01."),
        ("several_images", [3.0, None], "with 2 images epsilon is 3, with 4 images epsilon is more than can be said."),
        ("several_images", [None, None], "with 2 or 4 images epsilon is more than can be said."),
    ],
)
def test_what_says_nothing_is_said_once(part: str, figures: list[float | None], said: str) -> None:
    known: dict[str, Any] = {"epsilon_with": dict(zip(("2", "4"), figures, strict=True))}
    if part == "deltas":
        known = {"at": [{"epsilon": at, "delta": most} for at, most in zip((1.0, 2.0), figures, strict=True)]}
    assert SENTENCES[part](known, ADD_REMOVE).endswith(said)


def test_alarms_have_one_name() -> None:
    whole = page(terms()) + json.dumps(terms()) + render(report().as_dict(), digits(), central())
    assert "accus" not in whole and whole.count(CAPTION) == 2


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.1, 4.7, 6.9])
def test_between_points_the_curve_lies_below_the_chord_by_no_more_than_is_said(mu: float) -> None:
    at = [float(share) for share in ALARMS]
    between = np.geomspace(1e-6, 1, 2000)
    exact, chord = (norm.cdf(norm.isf(shares) - mu) for shares in (between, at))
    far = np.interp(between, at, chord) - exact
    assert (
        far.max() < 0.055 and far[between >= 1e-3].max() < 0.0135 and "1.3 points" in CAPTION and "about 5" in CAPTION
    )


def test_figures_of_the_same_prices_are_computed_once_and_are_everybodys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [Cost(mechanism="x", noise_multiplier=3.0, sampling_rate=1.0, steps=1)]
    first = figures(costs, 1.0, 1e-5)
    first["gaussian"]["mu"] = 0.0
    monkeypatch.delattr(tradeoff, "of")
    assert figures(list(costs), 1.0, 1e-5)["gaussian"]["mu"] > 0.3


@pytest.mark.parametrize("share", [1 - 1e-10, 0.5 - 1e-9, 0.99999, 0.3, 1 - 0.999, 1.0, 0.0, -1e-12])
def test_what_is_missed_is_never_rounded_up(share: float) -> None:
    assert 0 <= (found := _down_to_4_digits(share)) <= max(0.0, share) + 2e-15 and share - found < 1e-4
