"""Is it the right target? Networks that answer something else than logits, or something else than they learned."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raysyn.attacks.verdict import clopper_pearson
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods.lira import target as lira_target
from raysyn.methods.lira.config import Config
from raysyn.models.fast_net import FastNetConfig
from raysyn.models.normalised import Behind
from raysyn.train.recipe import RecipeConfig

DIGITS = load(DataConfig(limit=600)).train


class Answers(nn.Module):
    """Right about a share of the images, with `last` at its end: what is said depends on the images alone."""

    def __init__(self, images: Images = DIGITS, share: float = 1.0, last: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.last = last or nn.Identity()
        said = images.labels_N.copy()
        wrong = np.random.default_rng(0).random(len(said)) >= share
        said[wrong] = (said[wrong] + 1) % images.classes
        pairs = zip(images.images_NHWC, said, strict=True)
        self.known = {pixels.tobytes(): int(label) for pixels, label in pairs}
        self.classes = images.classes

    def forward(self, x: Tensor) -> Any:
        pixels = ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        said = torch.tensor([self.known.get(one.tobytes(), 0) for one in pixels])
        return self.last(6.0 * nn.functional.one_hot(said, self.classes).float() - 3.0 + self.weight)


class Tupled(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Infinite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(x.argmax(1, keepdim=True) == 4, float("nan"))


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (nn.Softmax(1), "answers with probabilities"),
        (nn.Sequential(nn.Softmax(1), nn.Dropout(0.5)), "answers with probabilities"),
        (Infinite(), r"answers \d+ of 50 training images with what is no finite number: check the normalisation"),
        (Tupled(), "answers with something of type tuple: return logits"),
        (nn.Linear(10, 9), r"answers 2 images with \(2, 9\): return logits \(2, 10\)"),
        (nn.Linear(9, 10), "cannot take images of 8 x 8 x 1: mat1 and mat2"),
    ],
)
def test_what_answers_no_logits_is_refused_before_any_training(last: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^mine {words}"):
        lira_target.check_network(Answers(last=last), DIGITS, "mine", None)


def test_one_logit_for_two_classes_is_told_how_to_become_two() -> None:
    two = Images(DIGITS.images_NHWC, DIGITS.labels_N % 2, ("even", "odd"))
    with pytest.raises(ValueError, match=r"torch\.stack"):
        lira_target.check_network(Answers(two, last=nn.Linear(2, 1)), two, "mine", None)


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match="has no parameters"):
        lira_target.check_network(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10)), DIGITS, "mine", None)


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(1), nn.Softmin(1)])
def test_log_probabilities_are_logits_and_a_softmax_is_found_in_a_trained_target_too(last: nn.Module) -> None:
    network = Answers(last=last)
    if isinstance(last, nn.Softmin):
        with pytest.raises(ValueError, match="answers with probabilities"):
            lira_target.doubts(network, DIGITS, "mine")
        return
    lira_target.check_network(network, DIGITS, "mine", None)
    assert lira_target.doubts(network, DIGITS, "mine") == []


def test_a_sigmoid_at_the_end_of_a_trained_target_is_warned_of() -> None:
    (said,) = lira_target.doubts(Answers(last=nn.Sigmoid()), DIGITS, "mine")
    assert "all answers of mine to 600 training images lie between 0 and 1" in said


def unbalanced(share: float) -> Images:
    """Two classes, the first with this share."""
    labels = (np.random.default_rng(1).random(len(DIGITS)) >= share).astype(np.int64)
    return Images(DIGITS.images_NHWC, labels, ("common", "rare"))


class Constant(Answers):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([2.0, -1.0]).expand(len(x), 2) + self.weight


def test_a_target_at_chance_on_its_own_training_images_is_warned_of_before_any_training() -> None:
    """Chance is what its answers would be worth if dealt out at random, in any mix of classes. Of targets at chance one
    in 44 escapes (two standard errors); these are fixed, and so are not drawn."""
    images = unbalanced(0.9)
    for wrong in (Answers(share=0.1), Constant(images)):
        (said,) = lira_target.doubts(wrong, images if isinstance(wrong, Constant) else DIGITS, "mine")
        assert "is right about" in said and "check the normalisation (--target.mean and --target.std" in said
    # Hardly better than always answering the common class, and yet it has learned something.
    assert lira_target.doubts(Answers(images, share=0.93), images, "mine") == []
    assert lira_target.doubts(Answers(share=0.3), DIGITS, "mine") == []


class Trained(nn.Module):
    """A linear network that learned from images as `seen` makes them of pixel values in [0, 1], without noticing other
    scales: constant inputs, far from zero, drown the rest."""

    def __init__(self, images: Images, seen: Any) -> None:
        super().__init__()
        x = seen(torch.tensor(images.images_NHWC).permute(0, 3, 1, 2).double() / 255)
        self.mean, self.std = x.mean(0, keepdim=True).float(), x.std(0, keepdim=True).float() + 0.3
        flat = ((x.float() - self.mean) / self.std).flatten(1)
        wanted = nn.functional.one_hot(torch.tensor(images.labels_N), images.classes).float() - 0.1
        self.weight = nn.Parameter(torch.linalg.lstsq(flat.T @ flat + torch.eye(flat.shape[1]), flat.T @ wanted)[0])

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).flatten(1) @ self.weight


def coloured() -> Images:
    """Digits in colour: the channels differ."""
    pixels = np.concatenate([DIGITS.images_NHWC, DIGITS.images_NHWC[:, ::-1] // 2, DIGITS.images_NHWC[:, :, ::-1]], 3)
    return Images(pixels, DIGITS.labels_N, DIGITS.class_names)


def behind(mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    centre, deviation = (torch.tensor(one).double()[:, None, None] for one in (mean, std))
    return lambda x: (x - centre) / deviation


@pytest.mark.parametrize(
    ("images", "seen", "words"),
    [
        (DIGITS, behind((0.0,), (1.0,)), "--target.mean 0 --target.std 1 (pixels in [0, 1])"),
        (DIGITS, behind((0.306,), (0.377,)), "--target.mean 0.306 --target.std 0.377 (these images' own)"),
        (coloured(), behind(*lira_target.IMAGENET), "--target.std 0.229 0.224 0.225 (ImageNet's)"),
        (coloured(), lambda x: 2 * x.flip(1) - 1, "its channels in the order blue, green, red"),
    ],
)
def test_the_normalisation_that_was_forgotten_is_named(images: Images, seen: Any, words: str) -> None:
    (said,) = lira_target.doubts(Trained(images, seen), images, "mine")
    assert words in said, said


def test_the_normalisation_that_was_given_is_not_doubted_and_too_much_of_it_is() -> None:
    inner = Trained(DIGITS, behind((0.9,), (0.1,)))
    assert lira_target.doubts(Behind(inner, (0.9,), (0.1,)), DIGITS, "mine") == []
    (said,) = lira_target.doubts(Behind(Trained(DIGITS, lambda x: 2 * x - 1), (0.9,), (0.1,)), DIGITS, "mine")
    assert "--target.mean 0.5 --target.std 0.5 (pixels in [-1, 1])" in said


def test_networks_that_do_not_begin_afresh_are_found() -> None:
    torch.manual_seed(0)
    made = [nn.Linear(3, 2) for _ in range(2)]
    assert lira_target.check_fresh(*made, "mine") == []
    with pytest.raises(ValueError, match="mine returns the same network twice"):
        lira_target.check_fresh(made[0], nn.Sequential(made[0]), "mine")
    made[1].load_state_dict(made[0].state_dict())
    (said,) = lira_target.check_fresh(*made, "mine")
    assert "mine returns the same weights at each call" in said


@pytest.mark.parametrize(
    ("right", "here", "words"),
    [
        (45, False, "check the normalisation (--target.mean and --target.std"),
        (45, True, "the recipe suits it less than them"),
        (100, False, None),
    ],
)
def test_a_target_far_below_its_shadow_models_is_warned_of(right: int, here: bool, words: str | None) -> None:
    rate = clopper_pearson(right, 100).as_dict()
    found = {"target": {"seen": rate}, "shadow_models": {"seen": clopper_pearson(970, 1000).as_dict()}}
    said = lira_target.unlike(found, here, RecipeConfig())
    assert said == [] if words is None else words in said[0] and "45.0 %" in said[0] and "97.0 %" in said[0]


def test_a_target_far_above_its_shadow_models_is_warned_of() -> None:
    found = {"target": clopper_pearson(99, 100).as_dict(), "shadow_models": clopper_pearson(600, 1000).as_dict()}
    (said,) = lira_target.unlike({whose: {"seen": rate} for whose, rate in found.items()}, False, RecipeConfig())
    assert "shadow models that learned less hide its leak" in said


def test_a_network_of_the_fast_recipe_is_told_no_other_normalisation() -> None:
    """It has its own, and another one is refused with it."""
    network = FastNetConfig(widths=(2, 2, 2)).build(1, 10)
    torch.nn.init.zeros_(network.head.weight)
    *_, said = lira_target.doubts(network, DIGITS, "mine")
    torch.nn.init.constant_(network.head.weight, float("nan"))
    with pytest.raises(ValueError, match="no finite number") as caught:
        lira_target.doubts(network, DIGITS, "mine")
    for told in (said, str(caught.value)):
        assert "check the order of the channels" in told and "target." not in told


@pytest.mark.parametrize(("right", "here"), [(45, True), (45, False), (100, False), (100, True)])
@pytest.mark.parametrize("kind", [{}, {"recipe_kind": "fast"}, {"recipe_function": "mine:fit"}])
def test_the_mend_names_no_setting_that_is_refused(right: int, here: bool, kind: dict[str, Any]) -> None:
    config, shadows = Config(**kind), clopper_pearson(500 if right == 100 else 970, 1000)
    rates = {"target": clopper_pearson(right, 100), "shadow_models": shadows}
    found = {whose: {"seen": rate.as_dict()} for whose, rate in rates.items()}
    (said,) = lira_target.unlike(found, here, config.taught())
    named = {flag.replace("-", "_") for flag in re.findall(r"--((?:recipe|fast|target)\.[\w-]+)", said)}
    refused = {"target.mean", "target.std"} if config.recipe_kind == "fast" else set()
    assert not named & (refused | set(config.unread())), said
    assert {"fast": "--fast.", "paper": "--recipe."}.get(config.recipe_kind, "") in said or "mine:fit" in said
    assert "--recipe.*" not in said or kind == {}
