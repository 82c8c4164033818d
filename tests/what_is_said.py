"""What makes each sentence of a certificate true: a check of the run at hand, or a test by its name."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from what_leaves import Left

from raysyn.attacks.membership import fingerprint
from raysyn.data.images import load
from raysyn.data.public import comparison
from raysyn.data.sources import subset
from raysyn.methods import ends, soft_config
from raysyn.methods.attack_report import CHOSEN_AFTER
from raysyn.methods.catalogue import METHODS
from raysyn.methods.method import usually_uncharged
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.sweep import UNCHARGED
from raysyn.metrics.yardsticks import BEST_IS_UNCHARGED, best_uncharged
from raysyn.privacy.cost import Cost, epsilon
from raysyn.report import choices, terms
from raysyn.report.release import statement
from raysyn.runs.storage import load_saved


def first_line(left: Left) -> None:
    """The first thing that a certificate says is its promise, or that there is none."""
    signed, told = left.certificate, (left.out / "release" / "certificate.json").read_text().splitlines()[0]
    assert told.startswith(f'{{"statement": {json.dumps(signed["statement"], ensure_ascii=False)}')
    assert signed["statement"] == statement(left.report["privacy"]) and signed["guarantee"] in ("dp", "none")
    promised = signed["guarantee"] == "dp"
    words = "This release is (" if promised else "There is NO differential privacy guarantee: "
    assert signed["statement"].startswith(words) and ("epsilon" in signed) == promised == bool(signed["covers"])
    assert promised == (left.out / "internal" / "ledger.jsonl").exists()


def every_file_is_signed(left: Left) -> None:
    there = [path for path in (left.out / "release").iterdir() if path.name != "certificate.json"]
    hashes = {path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in there}
    assert left.certificate["files"] == hashes


def the_ledger_is_what_was_spent(left: Left) -> None:
    """All answers together cost what is promised, each is one that was kept, and noise was on each."""
    signed = left.certificate
    costs = [Cost(**{key: row[key] for key in Cost.__dataclass_fields__}) for row in signed["ledger"]]
    assert signed["epsilon"] == epsilon(costs, signed["delta"], signed["accountant"]) <= left.config.budget.epsilon
    assert all(cost.noise_multiplier is not None and cost.noise_multiplier > 0 for cost in costs)
    paid = [json.loads(line) for line in (left.out / "internal" / "ledger.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in signed["ledger"]] == [row["stage"] for row in paid]
    assert all((left.out / "internal" / "stages" / f"{row['stage']}.pt").exists() for row in paid)


def one_image_is_the_unit(left: Left) -> None:
    signed = left.certificate
    assert {row["adjacency"] for row in signed["ledger"]} == {signed["adjacency"]} and "one image" in signed[
        "adjacency"
    ]
    assert "any one image" in signed["statement"]


def facts_are_those_of_the_images(left: Left) -> None:
    own = left.dataset.train
    facts = {"name": left.dataset.name, "private_images": len(own), "classes": list(own.class_names)}
    assert left.certificate["public_facts"] == facts | {"shape": list(own.shape)}


def images_are_taken_by_their_number(left: Left) -> None:
    """Which ones are taken of more follows from how many there are, not from what they show."""
    whole, limit = load(replace(left.config.data, limit=None)), left.config.data.limit
    taken = load(left.config.data)
    for all_of_it, some in ((whole.train, taken.train), (whole.test, taken.test)):
        rows = subset(len(all_of_it), min(limit, len(all_of_it)))
        assert np.array_equal(all_of_it.images_NHWC[rows], some.images_NHWC)
    share = getattr(left.config, "member_share", None)
    assert len(left.dataset.train) == (round(share * (len(taken.train) + len(taken.test))) if share else limit)


def public_images_are_named(left: Left) -> None:
    signed, query = left.certificate, getattr(left.config, "query", None)
    how = {"dp_prototypes": "unchanged", "dp_imgsyn": "changed", "evolution": "changed"}.get(
        signed["made_by"]["method"]
    )
    assert signed["public_images"] == ([] if left.public is None else [left.public.described(how)])
    card = (left.out / "release" / "README.md").read_text()
    there = None if left.public is None else how
    assert ("No camera took them" in card) == (there is None)
    assert ("fitted in size, under labels that a program made" in card) == (there == "unchanged")
    assert ("changed by a program, under labels that it made" in card) == (there == "changed")
    given = query is not None and query.checkpoint is not None
    assert bool(signed["public_networks"]) == given
    if left.public is not None:
        assert signed["public_images"][0]["sha256"] == left.public.train.fingerprint()
        assert str(Path("x").resolve().parent) not in json.dumps(signed), "names, not paths"


def what_is_measured_stays_inside(left: Left) -> None:
    """No figure of the report but those of the promise, no fingerprint of the images, and no time is in a release."""
    report, text = left.report, (left.out / "release" / "certificate.json").read_text()
    # A share of few images may be that of few right answers too: one sixth of 60 to learn from, and of 12 to test on.
    # The noise is planned, and stands beside that of the runs that are compared; an attack is held against the claim at
    # its own delta.
    rows = left.certificate.get("ledger", ())
    planned = {row[name] for row in rows for name in ("sampling_rate", "noise_multiplier")}
    said = set(numbers(left.certificate)) - planned - {left.certificate.get("delta")}
    found = {value for part in ("metrics", "attacks", "timings") for value in numbers(report[part])}
    measured = {value for value in found if value != round(value, 4)}
    assert measured and not measured & said
    parts = [part for part in (left.dataset.train, left.dataset.test, left.dataset.val) if part is not None]
    fingerprints = [part.fingerprint() for part in parts] + [
        left.dataset.source_fingerprint or left.dataset.fingerprint()
    ]
    counts = [np.bincount(part.labels_N, minlength=part.classes).tolist() for part in parts]
    assert not any(one in text for one in fingerprints)
    assert not any(json.dumps(one) in json.dumps(left.certificate) for one in counts)
    assert (left.out / "internal").stat().st_mode & 0o077 == 0


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif type(value) is float:
        yield value


def choices_are_listed(left: Left) -> None:
    told = left.certificate["uncharged_choices"]
    assert told == left.report["privacy"]["uncharged_choices"]


def the_secret_is_not_in_it(left: Left) -> None:
    secret = (left.out / "internal" / "secret").read_bytes()
    for path in (left.out / "release").iterdir():
        assert secret not in path.read_bytes() and secret.hex().encode() not in path.read_bytes()


def the_best_classifier_is_so_on_test_images(left: Left) -> None:
    metrics = left.report["metrics"]
    reached = {name: one["accuracy"] for name, one in metrics["utility"].items()}
    best = metrics["utility_best"]
    assert best["accuracy"] == max(reached.values()) == reached[best["classifier"]]


def so_many_may_be_shared(most: float) -> Callable[[Left], None]:
    def check(left: Left) -> None:
        assert left.public is None or left.public.shared <= most * len(left.dataset.train)

    return check


def the_classifier_is_the_given_one(left: Left) -> None:
    given = torch.load(left.config.query.checkpoint, weights_only=True)
    name = Path(left.config.query.checkpoint).name
    assert left.certificate["public_networks"] == [{"name": name, "sha256": fingerprint(given)}]
    assert not (left.out / "internal" / "stages" / "query.pt").exists()


def the_checkpoint_is_the_best_on_validation_images(left: Left) -> None:
    """And what was released was drawn from it, with the parameters that were best."""
    stages = left.out / "internal" / "stages"
    found, trials = load_saved(stages / "checkpoints.pt"), load_saved(stages / "tuning.pt")
    best = max(found, key=lambda one: one["score"])
    cas = left.report["metrics"]["cas_by_checkpoint"]
    assert cas[str(best["params"]["checkpoint"])] == max(cas.values()) == best["score"]
    defaults = {name: getattr(left.config.recycling, name) for name in left.config.tuning.ranges()}
    kept = [{"params": defaults, "score": best["score"]}, *(one for one in trials if not one["pruned"])]
    chosen = max(kept, key=lambda one: one["score"])["params"]
    told = left.report["metrics"]["table_1"]
    assert {name: told[name] for name in defaults} == {name: chosen[name] for name in defaults}


def the_variant_is_the_most_effective(left: Left) -> None:
    for found in (left.report["attacks"][target] for target in ("teacher", "student")):
        areas = {name: one["auc"]["value"] for name, one in found["variants"].items()}
        of_lira = {name: area for name, area in areas.items() if name.endswith("variance")}
        assert len(of_lira) == 4 and areas[found["best"]] == max(of_lira.values()) == found["best_auc"]
        assert (
            found["headline"]["variant"] == str(left.config.attack.variant())
            and found["auc"] == areas[found["headline"]["variant"]]
        )


def it_is_what_the_config_says(field: str) -> Callable[[Left], None]:
    def check(left: Left) -> None:
        said = getattr(left.config, field)
        assert said and any(said in one for one in left.certificate["uncharged_choices"])

    return check


BY_DEFINITION = "nothing of the code: it says what the promise is about"
Check = Callable[[Left], None] | str
AFTER_PAYING = "tests/methods/{0}/test_{0}.py::test_nothing_after_the_paid_answers_looks_at_private_images"
PAID_METHODS = tuple(one.name for one in METHODS if one.guarantee != "none")
CHECKS: Mapping[str, tuple[Check, ...]] = {
    terms.FILES: (every_file_is_signed, *(AFTER_PAYING.format(name) for name in PAID_METHODS)),
    terms.answers(("...",)): (the_ledger_is_what_was_spent,),
    terms.IMAGES[0]: (one_image_is_the_unit,),
    terms.IMAGES[1]: (facts_are_those_of_the_images,),
    terms.TAKEN: (images_are_taken_by_their_number,),
    **{terms.public(*given)[0]: (public_images_are_named,) for given in ((True, False), (False, True), (True, True))},
    terms.OTHERS: (BY_DEFINITION,),
    terms.inside(True): (what_is_measured_stays_inside,),
    terms.inside(False): (what_is_measured_stays_inside,),
    terms.CHOICES: (choices_are_listed,),
    terms.FOREIGN: (BY_DEFINITION,),
    terms.SECRET: (the_secret_is_not_in_it,),
    terms.EXISTS: (BY_DEFINITION,),
    terms.ARITHMETIC: (BY_DEFINITION,),
    BEST_IS_UNCHARGED: (the_best_classifier_is_so_on_test_images,),
    comparison(privimage.MOST_SHARED): (
        so_many_may_be_shared(privimage.MOST_SHARED),
        "tests/methods/privimage/test_privimage.py::test_a_few_private_images_among_the_public_ones_are_learned_from_as_such",
    ),
    comparison(soft_config.MOST_SHARED): (
        so_many_may_be_shared(0),
        "tests/methods/dp_imgsyn/test_dp_imgsyn.py::test_one_private_image_among_the_public_ones_is_refused",
        "tests/methods/dp_prototypes/test_dp_prototypes.py::test_one_private_image_among_the_public_ones_is_refused",
        "tests/methods/evolution/test_evolution.py::test_one_private_image_among_the_public_ones_is_refused",
    ),
    privimage.GIVEN: (the_classifier_is_the_given_one,),
    "the experiments train further teachers and students and test them on private images; nothing of these is "
    "released, but a setting chosen by them is a look at these images": (
        "tests/methods/dp_imgsyn/test_dp_imgsyn.py::test_experiments_compare_syntheses_and_release_none_of_them",
    ),
    "the experiments train further GANs on private images; nothing of these is released, but a setting chosen by them "
    "is a look at these images": (
        "tests/methods/pigan/test_pigan.py::test_experiments_share_units_and_more_of_them_do_only_what_is_missing",
    ),
    UNCHARGED: (
        "tests/methods/dp_feta/test_dp_feta.py::test_experiments_compare_whole_runs_and_release_none_of_them",
        "tests/methods/privimage/test_privimage.py::test_experiments_compare_whole_runs_and_share_what_is_the_same",
    ),
    "the generator's checkpoint is the one whose student is best on real validation images": (
        the_checkpoint_is_the_best_on_validation_images,
        "tests/methods/knowledge_recycling/test_knowledge_recycling.py::test_trap_12_selection_cannot_see_the_test_images",
    ),
    "the generation parameters are those whose student is best on real validation images": (
        the_checkpoint_is_the_best_on_validation_images,
    ),
    CHOSEN_AFTER: (
        the_variant_is_the_most_effective,
        "tests/attacks/test_shadows.py::test_the_headline_is_named_by_the_design_alone",
    ),
    choices.tuned("...")[0]: (
        it_is_what_the_config_says("tuned_on"),
        "tests/report/test_release.py::test_every_preset_says_what_it_was_tuned_on",
    ),
    choices.tuned("...; ...")[1]: (it_is_what_the_config_says("tuned_on"),),
    choices.chosen("..."): (
        it_is_what_the_config_says("chosen_among"),
        "tests/jobs/test_leaderboard_job.py::test_runs_are_compared_and_more_settings_add_to_them",
    ),
}
"""What makes each sentence of a certificate true: checks of a run, and tests by their names. `...` is a user's word."""


def checks_of(sentence: str) -> tuple[str, tuple[Check, ...]]:
    """The sentence as `CHECKS` has it, and its checks."""
    for known, checks in CHECKS.items():
        if re.fullmatch(re.escape(known).replace(r"\.\.\.", ".+"), sentence):
            return known, checks
    raise AssertionError(f"nothing in tests/what_is_said.py makes it true that: {sentence}")


def honest(left: Left) -> set[str]:
    """Every sentence of the certificate is made true by this run; which ones it has."""
    signed = left.certificate
    first_line(left)
    facts_are_those_of_the_images(left)
    what_is_measured_stays_inside(left)
    public_images_are_named(left)
    promised = terms.terms(signed) if signed["guarantee"] == "dp" else {"covers": []}
    assert promised == {name: signed[name] for name in ("covers", "does_not_cover") if name in signed}
    assert any("public images" in one for one in promised.get("does_not_cover", ())) == bool(
        promised["covers"] and (signed["public_images"] or signed["public_networks"])
    )
    met = set()
    for sentence in [*signed["covers"], *signed.get("does_not_cover", []), *signed["uncharged_choices"]]:
        known, checks = checks_of(sentence)
        met.add(known)
        for check in checks:
            if callable(check):
                check(left)
    if len(left.report["metrics"].get("utility") or ()) < 2:
        # Which is best is said of several alone.
        assert BEST_IS_UNCHARGED not in met
        met.add(BEST_IS_UNCHARGED)
    return met


def spoken_by(method: Any) -> set[str]:
    """Every sentence that a method's `uncharged` may list, as `CHECKS` has them."""
    said_by = ends.uncharged if method.uncharged is usually_uncharged else method.uncharged
    home = inspect.getmodule(said_by)
    function = ast.parse(inspect.getsource(said_by)).body[0]
    assert isinstance(function, ast.FunctionDef)
    found = set[str]()
    for node in (one for line in function.body[1:] for one in ast.walk(line)):
        assert not isinstance(node, ast.JoinedStr), f"{method.__name__}: a sentence with figures in it: see choices.py"
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.Name):
            value = getattr(home, node.id, None)
            value = BEST_IS_UNCHARGED if value is best_uncharged else value
        if isinstance(node, ast.Call) and "config" not in ast.unparse(node) and "choices" not in ast.unparse(node):
            value = eval(ast.unparse(node), vars(home))
        found |= {value} if isinstance(value, str) and " " in value else set()
    assert "*declared(config)" in inspect.getsource(said_by)
    return {checks_of(one)[0] for one in (*found, *choices.tuned("..."), choices.chosen("..."))}
