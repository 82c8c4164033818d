"""Canaries of one-shot questions add as much as one may, so that the noise they meet is what is accounted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mutants import rewritten
from scipy import stats

from raysyn.audits import findings, own_run, query_games
from raysyn.audits.findings import LITTLE, REFUTED
from raysyn.audits.mixture_games import APART, of_brightness
from raysyn.audits.own_run import Run
from raysyn.audits.played import Case
from raysyn.data import fourier, tangent
from raysyn.data.images import Images
from raysyn.models import perceptual as seen
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON
from raysyn.privacy.mechanisms import Embedded, LayersSeen, Mechanism
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries import (
    central,
    counts,
    embedding,
    layer_statistics,
    mixture,
    moments,
    noise,
    perceptual,
    semantic,
    votes,
)

CASES = {case.name: case for case in query_games.cases(1.0)}
DRAWS = 100
WHERE = (central, counts, embedding, layer_statistics, mixture, moments, perceptual, semantic, votes)


def drawn(case: Case, there: bool) -> tuple[np.ndarray, float]:
    """Answers to so many games along what the canary adds, (T, DRAWS), and how much that is."""
    _, (answer, exact), *_ = case.play.args  # type: ignore[attr-defined]
    adds, base = exact(True) - exact(False), exact(False)
    own = float(np.linalg.norm(adds))
    secrets = (bytes([there, draw]) + bytes(30) for draw in range(DRAWS))
    return np.array([(answer(there, Stream(secret, "audit")) - base) @ adds / own for secret in secrets]).T, own


@pytest.mark.parametrize("name", CASES)
def test_a_canary_adds_what_is_paid_for_and_meets_its_noise(name: str) -> None:
    case = CASES[name]
    promised = ADD_REMOVE_PERSON if "persons" in name else ADD_REMOVE
    assert case.cost.adjacency == promised and case.cost.noise_multiplier is not None
    rate, spread = case.cost.sampling_rate, case.cost.noise_multiplier
    (inside, own), (outside, _) = drawn(case, True), drawn(case, False)
    # Of layer statistics all steps' sum alone is told, in units of its own noise.
    steps = case.cost.steps if name.startswith("layer statistics") else 1
    assert own == pytest.approx(np.sqrt(steps)) if case.tight else own < 0.8
    assert outside.std() == pytest.approx(spread, rel=5 / np.sqrt(2 * outside.size))
    reach = 5 * np.sqrt(spread**2 + own**2 * rate * (1 - rate)) / np.sqrt(outside.size)
    assert inside.mean() == pytest.approx(own * rate, abs=reach) and outside.mean() == pytest.approx(0, abs=reach)


def quieter(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    def noisy_sum(parts: Any, sensitivity: float, noise_multiplier: float, drawn: Any) -> Any:
        return noise.noisy_sum(parts, sensitivity, factor * noise_multiplier, drawn)

    for module in WHERE:
        monkeypatch.setattr(module, "noisy_sum", noisy_sum)


def judged(name: str, games: int) -> findings.Finding:
    return findings.judge(CASES[name], CASES[name].play(games, 0), 0.999)


def test_half_the_noise_of_counts_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    quieter(monkeypatch, 0.5)
    assert judged("noisy class counts, images", 1500).verdict == REFUTED


def test_a_fifth_too_much_noise_of_a_question_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    quieter(monkeypatch, 1.2)
    one = judged("central means, images", 128)
    assert one.verdict == LITTLE and one.why.startswith("noise is too large: 1.2"), one


@pytest.mark.parametrize("other", [stats.uniform(-np.sqrt(3), np.sqrt(12)), stats.laplace(scale=np.sqrt(0.5))])
def test_noise_of_a_question_that_is_not_normal_is_named(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same variance."""

    def noisy_sum(parts: Any, sensitivity: float, noise_multiplier: float, drawn: Any) -> Any:
        return noise.noisy_sum(parts, sensitivity, noise_multiplier, other.ppf(stats.norm.cdf(drawn)))

    monkeypatch.setattr(central, "noisy_sum", noisy_sum)
    one = judged("central means, images", 128)
    assert one.verdict == REFUTED and one.why.startswith("noise is not normal: "), one


@pytest.mark.parametrize("row", ["mean features of dp_mepf, images", "mean squares of dp_mepf, persons"])
def test_features_that_are_longer_than_one_are_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network sees them, in black and white."""
    unit = seen.unit
    monkeypatch.setattr(seen, "unit", lambda rows_NF: 3 * unit(rows_NF))
    case = {case.name: case for case in query_games.cases(1.0)}[row]
    assert findings.judge(case, case.play(128, 0), 0.999).verdict == REFUTED


def test_gradients_that_are_longer_than_one_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tangent, "SHORT", 3.0)
    case = {case.name: case for case in query_games.cases(1.0)}["mean embedding of dp_ntk, images"]
    assert findings.judge(case, case.play(128, 0), 0.999).verdict == REFUTED


CENTRAL = 'stream.normal(step, f"central/{config.kind}/class {cell}"'
SHARED = [
    (
        counts,
        "class_counts",
        'stream.normal(0, "counts", private.classes)',
        'np.repeat(stream.normal(0, "counts", 1), private.classes)',
        "noisy class counts, images",
    ),
    (central, "one_round", CENTRAL, CENTRAL.replace("step", "0"), "central means, images"),
    (central, "one_round", CENTRAL, CENTRAL.replace(" {cell}", ""), "central modes, persons"),
    (moments, "class_sums", "moments/means/class {label}", "moments/means", "class sums of noisy_means, images"),
    (embedding, "embedding_sums", "embedding/class {label}", "embedding", "mean embedding of dp_merf, images"),
    (embedding, "embedding_sums", "embedding/class {label}", "embedding", "mean embedding of dp_ntk, persons"),
    (perceptual, "noisy_sums", "features/{stage}/class {label}", "features", "mean features of dp_mepf, images"),
    (moments, "spread_sums", " {cell}", "", "spread of noisy_means, persons"),
    (mixture, "noisy_statistics", "stream.normal(step, ", "stream.normal(0, ", "EM statistics of p3gm, persons"),
]


@pytest.mark.parametrize(
    ("module", "function", "old", "new", "row"),
    [case if not k else pytest.param(*case, marks=pytest.mark.slow) for k, case in enumerate(SHARED)],
)
def test_noise_that_is_drawn_once_for_two_is_named(
    module: Any, function: str, old: str, new: str, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewritten(monkeypatch, module, function, old, new)
    one = judged(row, 512)
    assert one.verdict == REFUTED and "noise is not drawn again" in one.why, one


@pytest.mark.parametrize(
    "row", ["noisy class counts, images", *(pytest.param(n, marks=pytest.mark.slow) for n in CASES if "central" in n)]
)
def test_an_empty_cell_without_noise_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_what_is_there(parts: Any, sensitivity: float, noise_multiplier: float, drawn: Any) -> Any:
        total = noise.noisy_sum(parts, sensitivity, 0.0, drawn)
        return total + noise_multiplier * sensitivity * drawn * (total != 0)

    for module in WHERE:
        monkeypatch.setattr(module, "noisy_sum", on_what_is_there)
    one = judged(row, 512)
    assert one.verdict == REFUTED and one.over > 0 and "noise is missing" in one.noise, one


OWN: list[tuple[str, Mechanism, Any, str, Callable[..., Any], Any]] = [
    (
        "mean embedding of dp_merf", Embedded(embedding.EmbeddingConfig(), fourier.FourierConfig(count=12), 5), fourier,
        "waves", lambda features, shape, seed: (features.count, seed), (12, 5),
    ),
    (
        "mean embedding of dp_ntk", Embedded(embedding.EmbeddingConfig(), tangent.TangentConfig(widths=(3,)), 5),
        tangent, "tangent", lambda features, shape, seed: (features.widths, seed), ((3,), 5),
    ),
    (
        "EM statistics of p3gm",
        replace(of_brightness(2), mixture=replace(APART, weights_M=np.array([0.25, 0.75]))), mixture, "statistics",
        lambda rows, weights, seen: seen.weights_M[0], 0.25,
    ),
    ("votes of evolution", votes.VotesConfig(blur=2.5), votes, "ballots", lambda *args: args[-1], 2.5),
    (
        "layer statistics", LayersSeen(query_games.STATISTICS, query_games.LAYERS), layer_statistics,
        "layer_statistics", lambda *args: args[-1], 77,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("question", "mechanism", "module", "name", "told", "expected"), OWN)
def test_a_run_is_asked_with_its_own_settings(
    question: str, mechanism: Mechanism, module: Any, name: str, told: Callable[..., Any], expected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked, as_it_is = list[Any](), getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args: asked.append(told(*args)) or as_it_is(*args))
    like = query_games.WHO[0].images.select(slice(0, 0))
    run = Run(plan={"x": CASES[f"{question}, images"].cost}, asked={"x": mechanism}, like=like, units=77, ranks=1)
    (case,) = own_run.cases(run, 1024, None, lambda *_: None)
    case.play(8, 0)
    assert asked and set(asked) == {expected}


SAMPLED = [name for name, case in CASES.items() if case.cost.sampling_rate < 1 and case.tight]


@pytest.mark.slow
@pytest.mark.parametrize("row", SAMPLED)
def test_twice_the_rate_is_refuted(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (central, layer_statistics):
        monkeypatch.setattr(
            module, "participants", lambda stream, step, n, rate: participants(stream, step, n, 2 * rate)
        )
    assert judged(row, 2048).verdict == REFUTED


def test_every_question_is_attacked_that_draws_a_sample() -> None:
    assert {name.split(",")[0] for name in SAMPLED} == {
        "central means", "central modes", "layer statistics of a sample",
    }  # fmt: skip


@pytest.mark.parametrize(
    "mechanism",
    [
        "noisy class counts",
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in ("class sums of noisy_means", "spread of noisy_means", "semantic histogram", "central means")
        ),
    ],
)
def test_a_person_whom_each_class_counts_anew_is_refuted(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def anew(private: Images) -> np.ndarray:
        cells_N = (
            private.labels_N if private.persons_N is None else private.persons_N * private.classes + private.labels_N
        )
        return np.ones(len(private)) if private.persons_N is None else 1.0 / np.bincount(cells_N)[cells_N]

    monkeypatch.setattr(query_games.units, "weights", anew)
    made = {case.name: case for case in query_games.cases(1.0)}[f"{mechanism}, persons of several classes"]
    assert findings.judge(made, made.play(2048, 0), 0.999).verdict == REFUTED


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_half_the_noise_of_every_question_is_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quieter(monkeypatch, 0.5)
    assert judged(name, 2048).verdict == REFUTED


@pytest.mark.slow
def test_all_of_a_persons_images_in_the_sum_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of their mean."""
    monkeypatch.setattr(query_games.units, "weights", lambda private: np.ones(len(private)))
    for name in CASES:
        if "persons" in name and not name.startswith("central"):
            assert judged(name, 2048).verdict == REFUTED, name
