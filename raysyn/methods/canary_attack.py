"""The attack on a run's own canaries, once its images are made: what that shows beside what is promised.

Everything here stays inside: who was a canary, and who of them was in, is the run's secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.attacks import found as record
from raysyn.attacks import one_run
from raysyn.attacks.one_run import Claim, Shown
from raysyn.attacks.verdict import CONFIDENCE
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods import canaries
from raysyn.methods.common import Setting
from raysyn.methods.weighing import Weighed
from raysyn.metrics.utility import subset
from raysyn.privacy import units
from raysyn.report.report import Section
from raysyn.runs.storage import write_atomically
from raysyn.screen.ended import Ended
from raysyn.screen.words import rounded_down, rounded_up
from raysyn.train.classifier import ClassifierConfig, features, fit, hold_out
from raysyn.train.near import Look, flat

STAGE = "audit"
OUT = 1000
"""Test images, at most, by which it is judged what is usual."""
OF_ONE = 20
"""Images of one person, at most, that are looked at."""
TAUGHT, EPOCHS = 5000, 3
"""Released images, at most, that the network of features is trained on, and for how long."""
REFUTED = "REFUTED.txt"
REFUTED_SAYS = (
    "Nothing of this folder may leave: the run's own canaries show more than its certificate says.\n"
    "The run's report, internal/report.html, says what to do.\n"
)
PIXELS, FEATURES, WEIGHTS = "nearest in pixels", "nearest in features", "loss of the model"
ANSWER = "along the noisy embedding"
INSIDE = (WEIGHTS, ANSWER)
"""Those that look at more than released images."""
NOTES = {
    PIXELS: "How near a canary's nearest released image of its class is, beside test images of this class.",
    FEATURES: "The same in features of a classifier that is trained on the released images.",
    WEIGHTS: "How small the loss is, mean over noise levels and draws if there are any, beside that of test images of "
    "the class.",
    ANSWER: "How much its features point along the noisy mean embedding of its class, beside those of test images of "
    "the class.",
}


class Refuted(Ended, RuntimeError):
    """The run shows more than it promises."""


@dataclass(frozen=True)
class Finding:
    """What the audit of a run came to."""

    records: list[dict[str, Any]]
    """Of each attack, as all attacks are recorded."""
    about: dict[str, Any]
    """For report.json."""
    section: Section


def stages(setting: Setting) -> list[str]:
    """What the console counts."""
    return [] if setting.tried is None else [STAGE]


def attack(
    setting: Setting, released: Images, privacy: Mapping[str, Any], weighed: Weighed | None = None,
    answered: Weighed | None = None,
) -> Finding | None:  # fmt: skip
    """Guess about the canaries of a run, if it has any, from the images that it has `released`, by its weights and by
    what was `answered` beside them; `privacy` is the report's section on what it promises."""
    if (tried := setting.tried) is None:
        return None
    train, seed = tried.made, setting.config.seed
    units_M, there_M = tried.canaries.units_M, tried.canaries.there_M
    places, whose = _some_of_each(train, units_M)
    looked_at = {name: one for name, one in ((WEIGHTS, weighed), (ANSWER, answered)) if one is not None}
    shared = (train.select(places), subset(setting.dataset.test, OUT, seed), released, looked_at, seed)
    scores = setting.folder.stage(
        STAGE, lambda: setting.compute.map(score, [None], name=STAGE, shared=shared)[0]
    )  # fmt: skip
    of_units = {
        name: one_run.of_units(value.numpy(), whose, len(units_M), surest=name not in INSIDE)
        for name, value in scores.items()
    }
    claim = Claim(privacy["epsilon"], privacy["delta"], privacy["meaning"]["gaussian"]["mu"])
    shown = {name: one_run.shown(values, there_M, claim, len(of_units)) for name, values in of_units.items()}
    whom, leave = units.word(train), setting.weights_leave
    records = [_record(name, of_units[name], there_M, claim, shown[name], whom, leave) for name in shown]
    finding = Finding(records, _about(setting, claim, shown, there_M), _section(setting, claim, shown, there_M))
    best = one_run.largest(list(shown.values()))
    setting.console.stage(STAGE, _beside(claim, best))
    if best.refuted:
        # Beside the certificate, so that `raysyn verify` fails for whoever is handed the folder all the same.
        write_atomically(setting.folder.release / REFUTED, REFUTED_SAYS)
        setting.folder.push()
        setting.console.say(finding.about["sentence"], alarm=True)
    return finding


def _some_of_each(private: Images, units_M: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(places of images, which canary each is of): OF_ONE images of each at most."""
    places = canaries.images_of(private, units_M)
    if private.persons_N is None:
        return places, np.arange(len(places))
    whose = np.searchsorted(units_M, private.persons_N[places])
    order = np.argsort(whose, kind="stable")
    rank = np.empty(len(whose), np.int64)
    rank[order] = np.arange(len(whose)) - np.searchsorted(whose[order], whose[order])
    return places[rank < OF_ONE], whose[rank < OF_ONE]


def score(
    _: None, shared: tuple[Images, Images, Images, Mapping[str, Weighed], int]
) -> dict[str, Tensor]:  # fmt: skip
    """One unit: what each attack says of each canary's image, (N,), higher for who was rather in. Knows no coin."""
    own, out, released, weighed, seed = shared
    looks: dict[str, Look] = {PIXELS: flat}
    if own.classes > 1 and len(released) > 1:
        taught, valid = hold_out(subset(released, TAUGHT, seed), 0.1, seed)
        network = fit(taught, valid, "cnn", ClassifierConfig(epochs=EPOCHS), seed, best_device()).model
        looks[FEATURES] = lambda images: features(network, images).float()
    found = {name: one_run.by_distance(look, own, released, out) for name, look in looks.items()}
    for name, losses in weighed.items():
        found[name] = one_run.by_losses(losses(own).double().numpy(), losses(out).double().numpy(), own, out)
    return {name: torch.from_numpy(finite(values)) for name, values in found.items()}


def finite(score_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores with the lowest of all in place of those that are none, as of weights that overflow: such a canary is
    called out, whether it was or not, and no run ends by it."""
    known = score_N[np.isfinite(score_N)]
    return np.where(np.isfinite(score_N), score_N, known.min() if len(known) else 0.0)


def _record(
    name: str, scores_M: NDArray[np.float64], there_M: NDArray[np.bool_], claim: Claim, shown: Shown, whom: str,
    open_weights: bool,
) -> dict[str, Any]:  # fmt: skip
    sees = record.WEIGHTS if name in INSIDE else record.RELEASED
    if name == WEIGHTS and open_weights:
        sees = record.OPEN_WEIGHTS
    made = record.found(
        f"Canaries, {name}", sees, scores_M[there_M], scores_M[~there_M], unit=whom, delta=claim.delta, note=NOTES[name]
    )
    # Scores of one run are not independent, and all bounds of it hold together.
    return made | {"epsilon": {"value": shown.epsilon, "confidence": CONFIDENCE, "delta": claim.delta}}


def _beside(claim: Claim, best: Shown) -> str:
    """What was claimed beside what was shown."""
    least = rounded_down(best.epsilon) if best.epsilon else "0"
    return f"claimed ε at most {rounded_up(claim.epsilon)}; shown at least {least}, with {CONFIDENCE:.0%} confidence"


def _about(
    setting: Setting, claim: Claim, shown: Mapping[str, Shown], there_M: NDArray[np.bool_]
) -> dict[str, Any]:  # fmt: skip
    best = one_run.largest(list(shown.values()))
    return {
        "canaries": len(there_M), "kind": setting.config.audit.kind, "unit": units.word(setting.dataset.train),
        "in": int(there_M.sum()), "epsilon_claimed": claim.epsilon, "delta": claim.delta, "confidence": CONFIDENCE,
        "epsilon_shown": best.epsilon, "epsilon_shown_if_gaussian": best.gaussian,
        "by_attack": {
            name: {
                "guesses": one.guesses, "right": one.right, "epsilon": one.epsilon, "epsilon_if_gaussian": one.gaussian,
                "refuted": one.refuted,
            }
            for name, one in shown.items()
        },
        "refuted": best.refuted, "sentence": _verdict(claim, best),
    }  # fmt: skip


def _verdict(claim: Claim, best: Shown) -> str:
    """For the report, and where the claim is refuted for the console too: what is to be done."""
    if not best.refuted:
        return f"{_beside(claim, best)}."
    how = "" if best.epsilon > claim.epsilon else ", and the whole trade-off curve of the certificate is refuted"
    return (
        f"REFUTED: {_beside(claim, best)}{how}. This release gives away more than its certificate says: hand nothing "
        "of it on, keep the run folder as it is, try the installation by raysyn audit engine, and report what that "
        "says (SECURITY.md)."
    )


def _section(
    setting: Setting, claim: Claim, shown: Mapping[str, Shown], there_M: NDArray[np.bool_]
) -> Section:  # fmt: skip
    best, train = one_run.largest(list(shown.values())), setting.dataset.train
    whom, kind = units.word(train), setting.config.audit.kind
    verdict = _verdict(claim, best)
    said = "" if best.refuted else f"{verdict[0].upper()}{verdict[1:]} "
    text = (
        f"{len(there_M):,} of the {train.units:,} {whom}s were canaries, {canaries.IN_WORDS[kind]}: a coin of the "
        f"run's secret decided of each whether it takes part, and {int(there_M.sum()):,} did. Afterwards they were "
        f"guessed about, by one who knows all of them and no coin. {said}All rows hold together. A promise is about "
        f"the best attack on the worst {whom}: one that shows less than is claimed proves nothing right, one that "
        "shows more proves the claim wrong."
    )
    heading = ("Attack", "Guesses", "Right", "ε at least", "ε at least, if Gaussian")
    rows = [
        (name, f"{one.guesses:,}", f"{one.right:,}", _least(one.epsilon), _least(one.gaussian))
        for name, one in shown.items()
    ]
    claimed = ("Claimed, at most", "", "", rounded_up(claim.epsilon), rounded_up(claim.epsilon))
    warnings = [verdict.removesuffix(".")] if best.refuted else []
    return Section(
        title="Audit by canaries of this run", text=text, warnings=warnings, rows=[heading, *rows, claimed]
    )  # fmt: skip


def _least(epsilon: float) -> str:
    return rounded_down(epsilon) if epsilon else "0"


def with_audit(attacks: Mapping[str, Any], finding: Finding | None) -> dict[str, Any]:
    """The report's `attacks`, with what was found of canaries among them."""
    if finding is None:
        return dict(attacks)
    return {**attacks, "found": [*attacks.get("found", ()), *finding.records], "audit": finding.about}


def sections_of(finding: Finding | None) -> list[Section]:
    """Its part of the report."""
    return [] if finding is None else [finding.section]


def may_leave(finding: Finding | None, promised: bool) -> str:
    """What the console's last lines say of the release."""
    if finding is not None and finding.about["refuted"]:
        return "REFUTED: must not leave"
    return "may leave" if promised else "no promise"


def check(finding: Finding | None) -> None:
    """Refuted where the claim cannot be: the last thing that a run does, once all is written."""
    if finding is not None and finding.about["refuted"]:
        raise Refuted(finding.about["sentence"])
