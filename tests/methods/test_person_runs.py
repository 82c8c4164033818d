"""Whole runs of every private method on persons with one to twelve images: what is counted, paid and promised."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from blank_runs import EVAL, METHODS, SPEED, BlankRun, blank_run
from blank_runs import Method as Blank
from scipy import stats
from whole_run import drawn_again, whole_run

from raysyn.data.images import Dataset, Images, load
from raysyn.methods import ends
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.method import Method, Prepared
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan import variants
from raysyn.methods.privimage import pipeline as privimage
from raysyn.privacy import units
from raysyn.privacy.cost import ADD_REMOVE_PERSON
from raysyn.privacy.queries import moments
from raysyn.report.terms import PERSONS, terms
from raysyn.report.verify import verify
from raysyn.screen.console import Console

SECRET = bytes(range(32))
EACH = (1, 1, 1, 2, 1, 1, 1, 1, 1, 12)
"""Images of one person after another."""


def named(images: Images, seed: int = 0) -> Images:
    """Persons whose images lie among one another, whatever classes they are of."""
    sizes = np.resize(EACH, len(images))
    persons = np.repeat(np.arange(len(images)), sizes)[: len(images)]
    return replace(images, persons_N=np.random.default_rng(seed).permutation(persons))


def reading(seed: int) -> Callable[[Any], Dataset]:
    def read(config: Any) -> Dataset:
        found = load(config)
        train = named(found.train, seed)
        # Somebody has images more in the second one: how many there are in all is a person's own.
        train = train.select(np.concatenate((np.arange(len(train)), np.arange(7 * seed))))
        return replace(found, train=train, test=named(found.test, seed))

    return read


@dataclass(frozen=True)
class Runs:
    """Two runs of one method; the images of the other are divided among as many persons otherwise."""

    method: Blank
    first: BlankRun
    other: BlankRun


@pytest.fixture(scope="module", params=METHODS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, letters: None) -> Iterator[Runs]:
    method, out, found = METHODS[request.param], tmp_path_factory.mktemp(request.param), []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for seed in range(2):
        with pytest.MonkeyPatch.context() as patch:
            for module in (ends, dp_imgsyn, dp_prototypes, pigan, privimage):
                patch.setattr(module, "load", reading(seed))
            found.append(blank_run(method, out / str(seed), SECRET))
    yield Runs(method, *found)
    torch.set_num_threads(threads)


def test_every_stage_is_priced_for_persons(runs: Runs) -> None:
    ledger, n = runs.first.ledger, runs.first.n
    assert {row["adjacency"] for row in ledger} == {ADD_REMOVE_PERSON}
    assert {row["note"] for row in ledger} == {units.NOTE}
    tuning = [getattr(runs.method.config, name, None) for name in ("finetune", "training", "gan")]
    batches = {one.batch_size / n for one in tuning if hasattr(one, "batch_size")}
    rates = {row["sampling_rate"] for row in ledger if row["mechanism"] == "DP-SGD"}
    assert rates <= batches and len(rates) == any(row["mechanism"] == "DP-SGD" for row in ledger)


def test_every_answer_has_the_noise_of_one_person(runs: Runs) -> None:
    """Read with the denominators that are used, in persons: chi-square of each stage, wrong once in a million."""
    for row in runs.first.ledger:
        noise = runs.first.noise(row["stage"])
        noise = noise / (row["noise_multiplier"] * runs.method.sensitivities[row["stage"]])
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(noise))
        assert low < float(noise @ noise) < high, (row["stage"], len(noise), float(noise.std()))


def test_the_certificate_promises_it_to_persons(runs: Runs) -> None:
    _, promise, _ = runs.first.released
    assert "any one person with all their images was among the private persons" in promise["statement"]
    facts = promise["public_facts"]
    assert facts["private_persons"] == runs.first.n and "private_images" not in facts
    assert promise["does_not_cover"] == terms(promise)["does_not_cover"]
    assert promise["adjacency"] == ADD_REMOVE_PERSON and set(PERSONS) < set(promise["does_not_cover"])
    assert not any(line.startswith("several images of one person") for line in promise["does_not_cover"])
    assert "private persons at" in promise["what_an_attacker_can_do"]["sentence"]


def test_whose_images_they_are_leaves_no_trace_but_in_what_is_summed(runs: Runs) -> None:
    (images, promise, _), (others_images, others_promise, _) = runs.first.released, runs.other.released
    assert np.array_equal(others_images.images_NHWC, images.images_NHWC) and others_promise == promise
    for stage in runs.method.sensitivities:
        assert np.array_equal(runs.other.noise(stage), runs.first.noise(stage)), stage


def whole(out: Path, name: Callable[[Images], Images]) -> Path:
    """noisy_means on real digits with this secret, whole."""
    config = replace(METHODS["noisy_means"].config, eval=replace(EVAL, floor=False, feature_epochs=0))
    with pytest.MonkeyPatch.context() as patch:
        found = load(config.data)
        patch.setattr(ends, "load", lambda _: replace(found, train=name(found.train), test=name(found.test)))
        patch.setattr("raysyn.runs.folder.os.urandom", lambda size: SECRET[:size])
        whole_run(noisy_means, config, out, SPEED)
    return out


def test_a_release_of_persons_is_verified_and_drawn_from_and_says_what_it_is_about(tmp_path: Path) -> None:
    out = whole(tmp_path / "run", named)
    assert all(check.holds for check in verify(out / "release"))
    drawn_again(noisy_means.METHOD, replace(METHODS["noisy_means"].config), out)
    card, report = ((out / name).read_text() for name in ("release/README.md", "internal/report.html"))
    n = json.loads((out / "internal/report.json").read_text())["dataset"]["n_persons"]
    assert "| unit | one person with all their images |" in card and f"from images of {n} persons of the set" in card
    assert f"300 private training images of {n} persons" in " ".join(report.split())


def test_with_one_image_each_what_is_released_is_the_same_under_another_promise(tmp_path: Path) -> None:
    plain = whole(tmp_path / "plain", lambda images: images)
    own = whole(tmp_path / "own", lambda images: replace(images, persons_N=np.arange(len(images))))
    one, other = ((out / "release/synthetic.parquet").read_bytes() for out in (plain, own))
    assert one == other
    signed, of_persons = (json.loads((out / "release/certificate.json").read_text()) for out in (plain, own))
    assert signed["epsilon"] == of_persons["epsilon"] and signed["delta"] == of_persons["delta"]
    assert signed["statement"] != of_persons["statement"] and "private_persons" not in signed["public_facts"]


def test_a_method_that_plans_for_images_is_refused_where_persons_are_named() -> None:
    private = named(load(METHODS["noisy_means"].config.data).train)
    config = METHODS["noisy_means"].config
    planned = moments.plan(config.moments, config.budget, private.units, private.classes, private.shape)
    made = Prepared(dataset=Dataset("x", private, private, None), plan=planned)
    method = Method(name="own", prepare=lambda _: made, run=lambda _: None)
    command = SimpleNamespace(config=SimpleNamespace(), track="none", out="gone", dry_run=False)
    refused = pytest.raises(ValueError, match=r"plan with units\.planned, or name no persons")
    with Console(io.StringIO()) as console, ExitStack() as stack, refused:
        method.begin(command, console, None, stack)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("tests_named", [True, False])
def test_pigans_splits_keep_persons_whole(share: float, tests_named: bool) -> None:
    config = replace(METHODS["dpgan"].config, member_share=share)
    raw = load(config.data)
    # Who is who can be seen in the first pixels.
    sides = []
    for first, images in ((0, raw.train), (128, raw.test)):
        own = named(images) if tests_named or not first else images
        persons = np.arange(len(own)) if own.persons_N is None else own.persons_N
        pixels = own.images_NHWC.copy()
        pixels[:, 0, 0, 0], pixels[:, 0, 1, 0] = first + persons // 256, persons % 256
        sides.append(replace(own, images_NHWC=pixels))
    dataset = replace(raw, train=sides[0], test=sides[1])
    whole = Counter(mark for side in sides for mark in marks(side))
    for index in range(2):
        first = variants.first_split(config, dataset)
        members, others = variants.split(config, first, index)
        assert members.units == round(share * len(whole)) and members.units + others.units == len(whole)
        few = variants.share_of(members, 0.3, 0)
        assert few.units == round(0.3 * members.units)
        for part in (members, others, few):
            found = Counter(marks(part))
            assert len(found) == part.units and all(count == whole[mark] for mark, count in found.items())
            assert part.persons_N is not None and len(set(zip(marks(part), part.persons_N, strict=True))) == part.units
        assert not set(marks(members)) & set(marks(others))


def marks(images: Images) -> list[tuple[int, int]]:
    return [tuple(pixels) for pixels in images.images_NHWC[:, 0, :2, 0].tolist()]


def test_without_names_pigans_splits_are_the_ones_they_were() -> None:
    config = replace(METHODS["dpgan"].config, member_share=0.3)
    raw = load(config.data)
    pool = np.concatenate([raw.train.images_NHWC, raw.test.images_NHWC])
    order = np.random.default_rng([config.seed, 20, 0]).permutation(len(pool))
    members = variants.first_split(config, raw).train
    assert np.array_equal(members.images_NHWC, pool[np.sort(order[: round(0.3 * len(pool))])])
