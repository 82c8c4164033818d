"""Attacks on persons: halves, sides and scores are theirs, and with one image each all is as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from raysyn.attacks import control, gan_attacks, lira, membership, shadows
from raysyn.attacks.gan_attacks import MonteCarloConfig, monte_carlo
from raysyn.attacks.pool import make_pool
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed
from raysyn.attacks.unseen import Unseen
from raysyn.attacks.variants import BESIDE, VARIANTS, Lira, Variant
from raysyn.attacks.verdict import auc, tpr_at
from raysyn.attacks.whose import Whose
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import attack_report
from raysyn.methods.attack_report import attack_sections, headline_sentence, side_warnings
from raysyn.train.recipe import RecipeConfig

SIZES = (1, 1, 3, 1, 12, 2, 5, 1, 20, 4)
"""Images of one person after another."""
GLOBAL = Lira(online=True, per_example=False)


def people(persons: int, seed: int, sizes: tuple[int, ...] = SIZES) -> Images:
    """Their images among one another, those of one person in several classes."""
    rng = np.random.default_rng(seed)
    whose_N = rng.permutation(np.repeat(np.arange(persons), np.resize(sizes, persons)))
    pixels = rng.integers(0, 256, (len(whose_N), 8, 8, 1), dtype=np.uint8)
    return Images(pixels, rng.integers(0, 3, len(whose_N)), ("a", "b", "c"), whose_N)


def divided(mask_N: np.ndarray, whose_N: np.ndarray) -> set[int]:
    """Persons of whom some images are in and some out."""
    return set(whose_N[mask_N]) & set(whose_N[~mask_N])


@pytest.mark.parametrize("design", ["half", "split"])
@pytest.mark.parametrize("seed", range(3))
def test_each_shadow_and_control_model_has_persons_whole(design: Any, seed: int) -> None:
    pool = make_pool(people(60, seed), people(40, seed + 9), None, seed)
    images, config = pool.images, AttackConfig(shadow_models=12, design=design)
    assert images.persons_N is not None and not divided(pool.members_N, images.persons_N)
    roles_MN = shadows.design(config, images, 12, seed)
    for role in (lira.TRAIN, lira.VALIDATION, lira.TEST):
        assert not any(divided(row_N == role, images.persons_N) for row_N in roles_MN)
    inside_MN = control._halves(images, pool.members_N, seed)
    assert not any(divided(row_N, images.persons_N) for row_N in inside_MN)
    assert (inside_MN[:, pool.members_N].sum(0) == 1).all() and not inside_MN[:, ~pool.members_N].any()
    if design == "half":
        # Halves of the persons, up to one of each class.
        inside = [len(set(images.persons_N[row_N == lira.TRAIN])) for row_N in roles_MN]
        assert all(abs(2 * count - images.units) <= 3 for count in inside)


@pytest.mark.parametrize("most", [None, 20])
def test_a_pool_has_persons_whole_but_for_images_that_say_nothing(most: int | None) -> None:
    """An image on both sides is left out, the others of its owner are not; sides hold as many of each class."""
    members, others = people(60, 0), people(40, 1)
    pixels = others.images_NHWC.copy()
    pixels[0] = members.images_NHWC[5]
    pool = make_pool(members, replace(others, images_NHWC=pixels), most, 0)
    whose = Whose.of(pool.images)
    for side, own in ((members, pool.members_N), (replace(others, images_NHWC=pixels), ~pool.members_N)):
        assert side.persons_N is not None
        there = {image.tobytes(): person for image, person in zip(side.images_NHWC, side.persons_N, strict=True)}
        found = [there[image.tobytes()] for image in pool.images.images_NHWC[own]]
        for person in set(found):
            album = side.images_NHWC[side.persons_N == person]
            gone = [image for image in album if np.array_equal(image, members.images_NHWC[5])]
            assert found.count(person) == len(album) - len(gone)
        assert len(set(found)) == whose.one_each(own).sum() and (most is None or len(set(found)) <= most)
    told = membership.told_of(pool)
    assert told["members"]["persons"] + told["others"]["persons"] == pool.images.units
    labels_U, members_U = whose.classes(pool.images.labels_N), whose.one_each(pool.members_N)
    shares = [np.bincount(labels_U[side], minlength=3) / side.sum() for side in (members_U, ~members_U)]
    assert np.abs(shares[0] - shares[1]).max() < 0.1


def test_a_side_without_names_is_of_as_many_persons_as_images() -> None:
    pool = make_pool(people(60, 0), replace(people(40, 1), persons_N=None), None, 0)
    assert pool.images.persons_N is not None
    others_N = pool.images.persons_N[~pool.members_N]
    assert len(set(others_N)) == len(others_N) and not set(others_N) & set(pool.images.persons_N[pool.members_N])


@pytest.mark.parametrize("sizes", [(1,), (3,)])
def test_scores_of_equally_many_images_are_their_sum(sizes: tuple[int, ...]) -> None:
    """Online the likelihood ratio of the images together."""
    images = people(30, 0, sizes)
    whose, rng = Whose.of(images), np.random.default_rng(0)
    inside_MN = lira.half_design(10, 30, 0)[:, images.persons_N]
    shadow_MNQ, target_NQ = rng.normal(size=(10, len(images), 2)), rng.normal(size=(len(images), 2))
    for variant in VARIANTS:
        alone_NQ = lira.by_views(shadow_MNQ, inside_MN, target_NQ, variant)
        found_UQ = lira.by_views(shadow_MNQ, inside_MN, target_NQ, variant, whose)
        for person in range(30):
            own = alone_NQ[images.persons_N == person]
            assert len(own) > 1 or np.array_equal(found_UQ[person], own[0])
            np.testing.assert_allclose(found_UQ[person], own.sum(0))


def told_apart(
    sizes: tuple[np.ndarray, ...],
    variant: Variant,
    shared: float,
    leak: float,
    views: int = 1,
    rate: float = 0.05,
) -> tuple[float, float]:
    """Area, and members caught at `rate`, where members and others have so many images each, of which those of a person
    share a part of their variance, and views of an image half of the rest: four targets."""
    whose_N = np.repeat(np.arange(sum(map(len, sizes))), np.concatenate(sizes))
    members_U, found = np.arange(whose_N[-1] + 1) < len(sizes[0]), []
    models = 32 if getattr(variant, "per_example", False) else 12
    for seed in range(4):
        random, inside_MU = np.random.default_rng(seed), lira.half_design(models, len(members_U), seed)

        def asked(inside_U: np.ndarray, random: np.random.Generator = random) -> np.ndarray:
            parts = (
                random.normal(size=(n, m)) for n, m in ((len(inside_U), 1), (len(whose_N), 1), (len(whose_N), views))
            )
            own, image, view = parts
            rest = (1 - shared) ** 0.5 * (image + view) / 2**0.5
            return shared**0.5 * own[whose_N] + rest + leak * inside_U[whose_N, None]

        shadow_MNQ = np.stack([asked(inside_U) for inside_U in inside_MU])
        score_U = lira.scores(shadow_MNQ, inside_MU[:, whose_N], asked(members_U), variant, Whose(whose_N))
        members, others = score_U[members_U], score_U[~members_U]
        found.append((auc(members, others).value, tpr_at(rate, members, others)[0] / len(members)))
    return tuple(np.mean(found, 0).tolist())


@pytest.mark.parametrize(
    ("variant", "sizes"),
    [
        *((GLOBAL, sizes) for sizes in ((4, 2), (2, 4), (6, 2), (10, 1), (1, 10))),
        *((variant, sizes) for variant in VARIANTS if variant != GLOBAL for sizes in ((6, 1), (1, 6))),
        *((variant, sizes) for variant in BESIDE[:2] for sizes in ((6, 1), (1, 6))),
    ],
    ids=str,
)
def test_how_many_images_somebody_has_is_not_taken_for_membership(variant: Variant, sizes: tuple[int, int]) -> None:
    """Nothing leaks: at 1 % of false alarms, of which sums of 10 and of 1 caught 14 % or nobody; two views.
    RMIA's ratio of one image ends where its probability is 1, and so may catch less."""
    area, caught = told_apart(tuple(np.full(300, k) for k in sizes), variant, 0.3, 0.0, 2, 0.01)
    least = 0.003 if variant in VARIANTS else 0
    assert abs(area - 0.5) < 0.04 and least <= caught < 0.03, (area, caught)


@pytest.mark.parametrize("shared", [0.3, 0.6])
def test_images_that_move_together_do_not_hide_whom_few_images_give_away(shared: float) -> None:
    """By sums of ratios 8 and 6 % were caught at 1 % of false alarms: those with 20 images are beyond all others."""
    sizes = (np.resize([1, 1, 1, 2, 3, 20], 300),) * 2
    for variant in (GLOBAL, Lira(online=False, per_example=False)):
        area, caught = told_apart(sizes, variant, shared, 1.0, 1, 0.01)
        assert area > (0.77 if shared == 0.3 else 0.74) and caught > 0.09, (str(variant), area, caught)


def test_each_number_of_images_has_a_scale_even_where_one_person_has_it() -> None:
    """Of 1 to 60 images each one person: spread as the number of images and what they share say."""
    random, counts, ks = np.random.default_rng(0), np.arange(1, 61), np.tile(np.arange(1, 61), 40)
    mean_U, std_U = -0.3 * counts, (2 * counts + 0.5 * counts * (counts - 1)) ** 0.5
    score_U = mean_U[ks - 1] + std_U[ks - 1] * random.normal(size=len(ks))
    unseen = Unseen.of(score_U[:, None], ks, 60)
    low, high = (unseen.standardised(one[:, None], counts)[:, 0] for one in (mean_U, mean_U + std_U))
    np.testing.assert_allclose(low, 0, atol=0.3)
    np.testing.assert_allclose(high - low, 1, atol=0.2)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_where_images_tell_nothing_persons_are_at_chance(variant: Variant) -> None:
    """Of 1 to 20 images, each shadow model as the target: five standard errors. Images of a person move together."""
    images, areas = people(200, 0), list[float]()
    assert images.persons_N is not None
    for seed in range(2):
        rng, inside_MU = np.random.default_rng(seed), lira.half_design(10, 200, seed)
        shared_MU = rng.normal(size=(10, 200))
        shadow_MNQ = (shared_MU[:, images.persons_N] + rng.normal(size=(10, len(images))))[:, :, None]
        judged = lira.each_as_target(shadow_MNQ, inside_MU[:, images.persons_N], variant, Whose.of(images))
        areas += [auc(one.score_UQ[one.members_U, 0], one.score_UQ[~one.members_U, 0]).value for one in judged]
    assert abs(np.mean(areas) - 0.5) < 5 * np.std(areas) / len(areas) ** 0.5


def test_several_images_give_a_person_away_as_the_closed_form_says() -> None:
    """ "In" half a standard deviation above "out" in each of m independent images: AUC = Phi(sqrt(m) / 2 / sqrt(2))."""
    whose_N = np.repeat(np.arange(600), 6)
    inside_MN = lira.half_design(100, 600, 0)[:, whose_N]
    shadow_MNQ = (0.5 * inside_MN + np.random.default_rng(0).normal(size=inside_MN.shape))[:, :, None]
    for variant in VARIANTS:
        found = lira.attack(
            shadow_MNQ[2:], inside_MN[2:], shadow_MNQ[0], inside_MN[0], Whose(whose_N)
        )["variants"][str(variant)]  # fmt: skip
        assert found["members"] + found["others"] == 600
        # Shadow models are not without end: what they tell of an image is off by a little.
        assert found["auc"]["low"] - 0.02 < stats.norm.cdf(6**0.5 / 2 / 2**0.5) < found["auc"]["high"] + 0.02


@dataclass(frozen=True)
class Small:
    """A network that soon knows its images by heart."""

    width: int = 48

    def build(self, channels: int, classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64 * channels, self.width), nn.ReLU(), nn.Linear(self.width, classes)
        )


NETWORK = Small()
RECIPE = RecipeConfig(epochs=20, batch_size=20, learning_rate=0.1, trivial_augment=False, mixup=0.0)


def attacked(folder: Path, train: Images, test: Images, recipe: RecipeConfig, models: int = 4) -> dict[str, Any]:
    """LiRA on a network that learned from `train`."""
    from raysyn.methods.lira.pipeline import fit_target

    weights = Local(folder).train(fit_target, NETWORK, train, recipe, 0, name="own")
    config, speed = AttackConfig(shadow_models=models, design="half"), ShadowSpeed(stack=2)
    return membership.attack(Local(folder), {"it": weights}, train, test, config, NETWORK, recipe, 0, speed)


def test_with_one_image_each_every_figure_is_as_it_was(tmp_path: Path) -> None:
    digits, brief = load(DataConfig(limit=40)), replace(RECIPE, epochs=1)
    random = np.random.default_rng(0).permutation
    plain = attacked(tmp_path / "plain", digits.train, digits.test, brief)
    train, test = (replace(side, persons_N=random(len(side))) for side in (digits.train, digits.test))
    named = attacked(tmp_path / "named", train, test, brief)
    for side in named["attacks"]["it"]["pool"].values():
        assert side.pop("persons") == side["kept"]
    named["found"] = [one | {"unit": "image"} for one in named["found"]]
    assert plain == named


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """80 persons of 1 to 5 digits, half of them trained on until they are known by heart."""
    digits = load(DataConfig()).train
    torch.set_num_threads(1)
    whose_N = np.repeat(np.arange(80), np.resize((1, 5, 2, 3), 80))
    # In the order of their source they are by writer, and sides would differ by more than membership.
    some = np.random.default_rng(0).permutation(len(digits))[: len(whose_N)]
    named = replace(digits.select(some), persons_N=whose_N)
    sides = [named.select(np.flatnonzero((whose_N < 40) == (side == 0))) for side in range(2)]
    return attacked(tmp_path_factory.mktemp("persons"), *sides, RECIPE, models=6)


def test_persons_in_an_overfitted_model_are_told_better_than_by_chance(overfitted: dict[str, Any]) -> None:
    """Wrong once in 40 where nothing leaks: the lower end of a 95 % interval. The control has none of it."""
    found = overfitted["attacks"]["it"]
    assert found["headline"]["auc"]["low"] > 0.5 and found["headline"]["null"]["share_as_high"] < 0.01
    assert found["headline"]["control"]["low"] < 0.5 < found["headline"]["control"]["high"]
    told, pool = found["variants"][found["headline"]["variant"]], found["pool"]
    assert (told["members"], told["others"]) == (pool["members"]["persons"], pool["others"]["persons"])
    assert told["members"] < pool["members"]["kept"] and told["others"] <= 40


def test_the_report_speaks_of_persons(overfitted: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attack_report, "chart", lambda *_, **__: "")
    sections = attack_sections(overfitted, "Attack")
    text = " ".join(section.text for section in sections)
    assert "on persons, with its 95 % interval" in text and "if one person in a hundred were" in text
    assert "The attack is about persons, each with all images" in text and " image in a hundred" not in text
    assert sections[-1].rows[0] == ("Side", "Persons", "Images", "Images each", "Left out")
    said = headline_sentence(overfitted["attacks"]["it"], 6, 0.9)
    assert "ranks a training person (with all their images)" in said and "never saw the person" in said


@pytest.mark.parametrize("named", [True, False])
def test_the_warning_about_unlike_sides_names_what_makes_numbers_of_images_equal(named: bool) -> None:
    persons = {"persons": 10} if named else {}
    pool = {"members": {"kept": 40, **persons}, "others": {"kept": 25, **persons}}
    found = {"headline": {"control": {"value": 0.7, "low": 0.6, "high": 0.8}}, "pool": pool}
    (said,) = side_warnings({"it": found, "shadow_models": {}})
    assert ("4.0 and 2.5 images each, which --data.most-per-person 1 makes equal" in said) == named
    assert f"never saw these {'persons' if named else 'images'}" in said


def test_with_few_of_them_errors_count_persons() -> None:
    config = AttackConfig(shadow_models=3, design="half")
    with pytest.raises(ValueError, match=r"of \d+ persons some would be on one side of only 1 of them, and 3 are"):
        shadows.check_enough(config, people(60, 0), people(40, 1), 0)
    same = people(40, 0)
    with pytest.raises(ValueError, match=r"only 0 persons of a side can be compared"):
        make_pool(same, same, None, 0)


def test_attacks_on_generators_ask_about_persons_and_with_one_image_each_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Suspects of the Monte Carlo attack are persons: of members whose images were all copied, each is caught."""
    monkeypatch.setattr(gan_attacks, "SIMULATIONS", 20)
    rng = np.random.default_rng(0)
    members, others = people(60, 0), people(60, 1)
    config = MonteCarloConfig(suspects=20, components=4, repeats=3)
    # Nearest to every image of a member there are four copies, to those of others there is none.
    copies = np.repeat(members.images_NHWC, 4, axis=0)
    found = monte_carlo(members, others, copies, config, 0)
    assert found["single"]["accuracy"] > 0.9 and found["set"]["accuracy"] == 1
    # As many persons as there are: all images of all but those that the components are fitted on.
    asked: list[int] = []
    near = gan_attacks.share_nearby
    monkeypatch.setattr(gan_attacks, "share_nearby", lambda one, fakes: (asked.append(len(one)), near(one, fakes))[1])
    monte_carlo(members, members, copies[::4], replace(config, suspects=60 - 6, repeats=1, components=2), 0)
    assert len(members) < asked[0] < 2 * len(members)
    with pytest.raises(ValueError, match=r"there are 60 members and 54 others \(persons\)"):
        monte_carlo(members, others, copies, replace(config, suspects=61), 0)
    # Components are fitted on all images of six persons, who have twelve at least.
    pairs = people(60, 1, (2, 3))
    monte_carlo(members, pairs, copies[:100], replace(config, components=12, repeats=1), 0)
    with pytest.raises(ValueError, match="64 pixels and 12 images, those of 6 persons, to fit"):
        replace(config, components=13).check(members, pairs)
    alone = [replace(side, persons_N=rng.permutation(len(side))) for side in (members, others)]
    plain = [replace(side, persons_N=None) for side in (members, others)]
    first, second = (monte_carlo(*sides, copies, config, 0) for sides in (alone, plain))
    for name, told in first.items():
        assert told["accuracy"] == second[name]["accuracy"]
        assert torch.equal(told["chance"]["draws"], second[name]["chance"]["draws"])


def test_a_persons_score_is_the_mean_of_their_images() -> None:
    whose = Whose(np.array([1, 0, 1, 1]))
    np.testing.assert_allclose(whose.mean(np.array([[1.0, 0], [5, 5], [2, 0], [6, 3]])), [[5, 5], [3, 1]])
    assert whose.classes(np.array([2, 0, 1, 1])).tolist() == [0, 1] and Whose().word == "image"
    assert whose.one_each(np.array([True, False, True, True])).tolist() == [False, True]
    assert whose.only(np.array([True, False, True, True])).persons_N.tolist() == [0, 0, 0]  # type: ignore[union-attr]


def test_where_nobody_is_known_to_be_unseen_scores_stay_as_they_are() -> None:
    score_UQ, images_U = np.ones((2, 1)), np.array([1, 3])
    nobody = Unseen.of(score_UQ[:0], images_U[:0], 3)
    assert (nobody.standardised(score_UQ, images_U) == score_UQ).all()
