"""Is it the right target? What a classifier of the user's answers, before shadow models are trained and after."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks import likeness
from raysyn.attacks.teaching import Recipe
from raysyn.attacks.verdict import clopper_pearson
from raysyn.data.images import Images
from raysyn.models.checkpoints import last_line
from raysyn.models.fast_net import FastNet
from raysyn.models.imported import Imported
from raysyn.models.normalised import Behind
from raysyn.report.report import Section
from raysyn.train.classifier import as_float
from raysyn.train.fast import FastRecipe
from raysyn.train.own_recipe import OwnRecipe
from raysyn.train.recipe import predict

LOOKED_AT = 1000
"""Training images that the classifier is tried on before the sweep."""
TRIED_ON, BETTER = 300, 0.05
"""Training images on which other normalisations are tried, and from which gain in accuracy one is better (where the
intervals do not meet either)."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NORMALISATION = "the normalisation (--target.mean and --target.std, or inside the network), "


def check_network(network: nn.Module, images: Images, name: str, imported: Imported | None) -> None:
    """ValueError, in one sentence, where a network cannot take the images, on its device, or answers no logits."""
    # In the memory that images to be asked about lie in.
    zeros, first = as_float(torch.zeros(2, *images.shape, dtype=torch.uint8)), next(network.parameters(), None)
    zeros, some = zeros.to("cpu" if first is None else first.device), _some(images, 50)

    def taken(asked: Callable[[], Any]) -> Any:
        try:
            return asked()
        except Exception as error:  # whatever a network that raysyn does not know may raise
            shown = " x ".join(map(str, images.shape))
            told = last_line(error) if imported is None else imported.told(error)
            raise ValueError(f"{name} cannot take images of {shown}: {told}") from error

    with torch.inference_mode():
        answer = taken(lambda: network.eval()(zeros))
    if not isinstance(answer, Tensor):
        raise ValueError(
            f"{name} answers with something of type {type(answer).__name__}: return logits (2, {images.classes}) alone"
        )
    if tuple(answer.shape) != (2, images.classes):
        one = tuple(answer.shape) in ((2,), (2, 1)) and images.classes == 2
        mend = ", of one logit z torch.stack([torch.zeros_like(z), z], 1)" if one else ""
        raise ValueError(
            f"{name} answers 2 images with {tuple(answer.shape)}: return logits (2, {images.classes}){mend}"
        )
    if first is None:
        raise ValueError(f"{name} has no parameters, so that there is nothing to train: return a network that has")
    _refuse_no_logits(taken(lambda: predict(network, some.images_NHWC)), some, name, network)


def check_fresh(first: nn.Module, second: nn.Module, name: str) -> list[str]:
    """Warnings where two calls of the function that builds networks give the same weights; ValueError for one network.

    Shadow models that begin with what another one learned, or with what the target did, would tell nothing.
    """
    pairs = list(zip(first.parameters(), second.parameters(), strict=True))
    if any(one is other for one, other in pairs):
        raise ValueError(
            f"{name} returns the same network twice: make a new one at each call, shadow models learn apart"
        )
    if not all(torch.equal(one, other) for one, other in pairs):
        return []
    return [
        f"{name} returns the same weights at each call: shadow models must begin as the classifier did, not with "
        "what it has learned; leave random those that were random"
    ]


def doubts(network: nn.Module, members: Images, name: str) -> list[str]:
    """Warnings on what the classifier answers about up to 1,000 of its training images; ValueError for no logits."""
    some, found = _some(members, LOOKED_AT), list[str]()
    logits = predict(network, some.images_NHWC)
    _refuse_no_logits(logits, some, name, network)
    if logits.min() >= 0 and logits.max() <= 1:
        found.append(
            f"all answers of {name} to {len(some):,} training images lie between 0 and 1: if it ends in a sigmoid or "
            "the like, return what goes into it"
        )
    answered, labels = logits.argmax(1).numpy(), some.labels_N
    share, asked = (np.bincount(one, minlength=some.classes) / len(some) for one in (labels, answered))
    right, chance = float((answered == labels).mean()), float(share @ asked)
    told = f"{name} is right about {100 * right:.1f} % of {len(some):,} of its training images"
    if not isinstance(network, FastNet) and (better := _better(network, _some(members, TRIED_ON))):
        found.append(f"{told}, but {better}")
    # Two standard errors, as if its answers had been dealt out to the images at random.
    elif right < chance + 2 * math.sqrt(chance * (1 - chance) / len(some)):
        found.append(
            f"{told}, and would be about {100 * chance:.1f} % if its answers were dealt out at random: {_mend(network)}"
        )
    return found


def _better(network: nn.Module, images: Images) -> str:
    """What to show the classifier instead, where it then is far better at its own training images; else nothing."""
    inner, whole = bare(network), likeness.right(network, images)
    pixels = images.images_NHWC.reshape(-1, images.shape[2]) / 255
    own = tuple(tuple(float(f"{value:.3g}") for value in one) for one in (pixels.mean(0), pixels.std(0).clip(1e-3)))
    tried = {"pixels in [-1, 1]": ((0.5,), (0.5,)), "pixels in [0, 1]": ((0.0,), (1.0,)), "these images' own": own}
    if images.shape[2] == 3:
        tried["ImageNet's"] = IMAGENET
    shown: dict[str, nn.Module] = {
        f"--target.mean {_words(mean)} --target.std {_words(std)} ({what})": Behind(inner, mean, std)
        for what, (mean, std) in tried.items()
    }
    if images.shape[2] == 3:
        shown["its channels in the order blue, green, red, turned round inside the network"] = _Reversed(network)
    found = {what: likeness.right(other, images) for what, other in shown.items()}
    best = max(found, key=lambda what: int(found[what].sum()))
    before, after = (clopper_pearson(int(right.sum()), len(images)) for right in (whole, found[best]))
    if after.value - before.value <= BETTER or after.low <= before.high:
        return ""
    return f"about {100 * after.value:.1f} % with {best}"


class _Reversed(nn.Module):
    """A network that is shown the channels in reverse."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.network(images_NCHW.flip(1))


def _words(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def unlike(found: Mapping[str, Any], trained_here: bool, recipe: Recipe) -> list[str]:
    """The warning where target and shadow models do not know their images alike (`likeness.apart` has the rule)."""
    if not (difference := likeness.apart(found)):
        return []
    target, shadows = (100 * found[whose]["seen"]["value"] for whose in ("target", "shadow_models"))
    told = (
        f"the classifier is right about {target:.1f} % of the images it was trained on, its median shadow model about "
        f"{shadows:.1f} % of its own, more than {100 * likeness.FAR:.0f} points apart with intervals that do not meet"
    )
    how, rate, longer = "--recipe.*", "lower --recipe.learning-rate", "train longer (--recipe.epochs)"
    if isinstance(recipe, FastRecipe):
        how, rate, longer = "--fast.*", "lower --fast.learning-rate", "train longer (--fast.epochs)"
    elif isinstance(recipe, OwnRecipe):
        how, rate, longer = recipe.name, f"lower the learning rate of {recipe.name}", "let it train longer"
    if difference > 0:
        mend = f"shadow models that learned less hide its leak: train them as it was trained ({how}, longer)"
    elif trained_here:
        mend = f"the recipe suits it less than them: {rate}, or {longer}"
    else:
        mend = (
            f"shadow models that it does not resemble hide its leak: {_mend(recipe)}, that these are the images it was "
            f"trained on, and that {how} trains as it was trained"
        )
    return [f"{told}; {mend}"]


def likeness_section(found: Mapping[str, Any], warnings: list[str]) -> Section:
    """Accuracies of the target and of its shadow models beside each other, with what is doubtful about them."""
    rows: list[tuple[str, ...]] = [("", "Images trained on, %", "Images never seen, %")]
    target, shadows = found["target"], found["shadow_models"]
    rows.append(("attacked classifier", *(_interval(target[side]) for side in ("seen", "unseen"))))
    rows.append(("shadow models, median", *(_interval(shadows[side]) for side in ("seen", "unseen"))))
    for which in ("lowest", "highest"):
        rows.append((f"shadow models, {which}", *(f"{100 * shadows[side][which]:.1f}" for side in ("seen", "unseen"))))
    return Section(
        title="Is it the right target?",
        text="Accuracy with 95 % intervals. Trained on: the attacked classifier's training images, and of each shadow "
        "model those of them that it was trained on; never seen: test images, and of each shadow model those of them "
        "that it was not trained on. Where the classifier knows its images much better or worse than shadow models "
        "know theirs, they do not stand for it.",
        warnings=warnings,
        rows=rows,
    )


def bare(network: nn.Module) -> nn.Module:
    """The user's network itself, whose names its checkpoint has."""
    return network.network if isinstance(network, Behind) else network


def _interval(rate: Mapping[str, float]) -> str:
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"


def _some(images: Images, most: int) -> Images:
    """At most `most` of the images, spread over all of them."""
    return images.select(np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int)))


def _mend(of: nn.Module | Recipe) -> str:
    """What to look at; the network of the fast recipe has its own normalisation, by its training images."""
    seen = "" if isinstance(of, FastNet | FastRecipe) else NORMALISATION
    return f"check {seen}the order of the channels and of the classes, and the checkpoint"


def _refuse_no_logits(logits: Tensor, images: Images, name: str, network: nn.Module) -> None:
    """ValueError for answers that cannot be logits. Log-probabilities can: they differ by a constant a row."""
    if not torch.isfinite(logits).all():
        lost = int((~torch.isfinite(logits)).any(1).sum())
        raise ValueError(
            f"{name} answers {lost:,} of {len(images):,} training images with what is no finite number: "
            f"{_mend(network)}"
        )
    if logits.min() >= 0 and (logits.sum(1) - 1).abs().max() < 1e-3:
        raise ValueError(
            f"{name} answers with probabilities (rows that sum to 1): return logits, what goes into softmax"
        )
