"""A sweep of LiRA's shadow models: each is trained like the target on its part of the pool, and then asked.

One model is one durable unit, so that a killed worker costs what it was training and a larger sweep starts from those
that exist. Several may be trained stacked on one device, which a short trial decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from raysyn.attacks import likeness, lira
from raysyn.attacks.pool import Pool, make_pool
from raysyn.attacks.teaching import Architecture, Recipe, identity, teach
from raysyn.attacks.variants import EVERY, Lira, Variant
from raysyn.attacks.whose import Whose
from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import Alone, Clock
from raysyn.data.images import Images
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import as_float
from raysyn.train.fast import FastRecipe
from raysyn.train.memory import HEADROOM, at_once, available_bytes, step_bytes
from raysyn.train.recipe import RecipeConfig
from raysyn.train.views import View

QUERIES = 18
ENOUGH = 32
"""Models on each side of an image from which its own variance is better than everybody's (LeakPro's rule; the published
tables agree: at 16 models one variance for all wins, at 256 one per example)."""
Headline = Literal[
    "online-per-example", "online-global", "offline-per-example", "offline-global", "rmia-online", "rmia-offline",
    "loss",
]  # fmt: skip
FEWEST_BY_FAST = 4
"""Members (images, or persons), of which a control model's half has 2."""
STACKS = (1, 2, 4, 8)
TRIAL_STEPS = 8
"""Of each stack at most, and as many before these to warm up."""
TRIAL_SHARE = 0.05
"""Of the sweep's own steps that the trial takes at most, but for two of each stack."""
WORTH_IT = 0.95


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """LiRA against the finished models (Knowledge Recycling 3.6)."""

    shadow_models: int = 256
    """Shadow models to train; 0 leaves the attack out. More may be asked for later: those that exist are kept."""
    design: Literal["split", "half"] = "split"
    """`split`: each shadow model is trained on a random 50 % of the pool, 10 % lie aside and 40 % are unseen, the
    paper's shares (it splits its validation images; here members must be among them); `half`: every image is in exactly
    half of the models, as in LiRA's own, which needs fewer models. Persons that are named are in or out as a whole."""
    images: int | None = None
    """At most this many members (training images) and at most as many non-members (test images) make the pool that
    shadow models are trained on halves of; by default all. Where persons are named, so many persons."""
    queries: int | None = None
    """So many views of each image are averaged, up to 18, the image itself first: those that training by the recipe
    gives, and no more than it gives. By default itself and what --recipe.flip and --recipe.shift make of it, but itself
    alone where the classifier comes as a checkpoint, trained elsewhere. The report shows what each further view
    changes, TrivialAugment's shifts among them. May be changed later without training again."""
    headline: Headline | None = None
    """The variant of the attack that speaks for it, named before its outcome: by default online, with a variance per
    example where shadow models are as many as make 32 on each side of an image (64 of design half, 80 of split), else
    one for all. rmia-online and rmia-offline are RMIA from the same shadow models; loss needs none of them."""
    show_exposed: int = 0
    """Draw so many training images of each attacked classifier, those that its attack is surest of, in
    internal/exposed.png: a file with private images in it, which stays inside until you delete it. 0 draws none."""

    def __post_init__(self) -> None:
        if self.shadow_models < 0 or self.shadow_models == 1:
            raise ValueError(f"attack.shadow_models is {self.shadow_models}: give at least 2, or 0 for no attack")
        if self.images is not None and self.images < 2:
            raise ValueError(f"attack.images is {self.images}: give at least 2, or leave it out")
        if self.queries is not None and not 1 <= self.queries <= QUERIES:
            raise ValueError(f"attack.queries is {self.queries}: give 1 to {QUERIES}, or leave it out")
        if self.show_exposed < 0:
            raise ValueError(f"attack.show_exposed is {self.show_exposed}: give 0 or more")

    def averaged(self, recipe: Recipe) -> int:
        """How many of the views that `recipe` gives are averaged, from the first on; ValueError for more than those."""
        if (self.queries or 1) > (given := len(recipe.views())):
            # An image and its mirror image have one answer by the fast recipe.
            others = {"flip": replace(recipe, flip=True), "shift": replace(recipe, shift=recipe.shift or 1)}
            counts = {name: len(one.views()) for name, one in others.items()}
            more = [f"--recipe.{name} ({count})" for name, count in counts.items() if count > given]
            raise ValueError(
                f"attack.queries is {self.queries}, but training by this recipe gives {given} "
                f"view{'s' if given > 1 else ''} of an image: give at most {given}"
                + (f", or where the classifier was trained so {' or '.join(more)}" if more else "")
            )
        return self.queries or recipe.usual_views()

    def variant(self) -> Variant:
        """The one whose figures are the headline; it depends on nothing that an attack finds out."""
        if self.headline is not None:
            return next(variant for variant in EVERY if variant.flag == self.headline)
        share = min(lira.SPLIT[0], lira.SPLIT[2]) if self.design == "split" else 0.5
        return Lira(online=True, per_example=share * self.shadow_models >= ENOUGH)


@dataclass(frozen=True, kw_only=True)
class ShadowSpeed:
    """How shadow models share a device; nothing here changes the result beyond rounding."""

    stack: int | None = None
    """Shadow models trained together as one computation; by default what a short trial finds fastest."""

    def __post_init__(self) -> None:
        if self.stack is not None and self.stack < 1:
            raise ValueError(f"on.shadows.stack is {self.stack}: give at least 1, or leave it out")


@torch.inference_mode()
def confidences(network: nn.Module, images: Images, views: Mapping[str, View], batch_size: int = 500) -> np.ndarray:
    """(N, Q) logit-scaled confidences of the true class in each view, float64, in evaluation mode.

    Members and non-members are asked alike.
    """
    device, network = next(network.parameters()).device, network.eval()
    pixels, labels = as_tensor(images.images_NHWC), images.labels_N
    parts, batch_size = [], at_once(batch_size, images.shape)
    for at in range(0, len(images), batch_size):
        batch = pixels[at : at + batch_size].to(device)
        logits = torch.stack([network(as_float(view(batch))).float() for view in views.values()], 1)
        parts.append(lira.confidence(logits.cpu().numpy(), labels[at : at + batch_size]))
    return np.concatenate(parts)


class Sweep(NamedTuple):
    """What the shadow models answered."""

    shadow_MNQ: np.ndarray
    """Confidences; NaN where the image lay aside for that model."""
    inside_MN: np.ndarray


def sweep(
    compute: Compute, pool: Pool, config: AttackConfig, network: Architecture, recipe: Recipe, seed: int,
    speed: ShadowSpeed,
) -> tuple[Sweep, np.ndarray]:  # fmt: skip
    """Train `config.shadow_models` networks and ask them; models that storage holds already are not trained again.

    Each is asked all views that its recipe gives, whatever `config.queries`, for training is dear and asking cheap: so
    that all there is to ask about them is stored, at 4 bytes per image and view. Of the paper's 256 ResNets on CIFAR-10
    that is 0.3 GB, where their weights, which one could go on asking, would be 2.9.

    Beside the sweep: (M, N) bool, which images each model labels rightly.
    """
    shared, name = (pool.images, config, network, recipe, seed), _name(pool, config, network, recipe, seed)
    stack = stack_of(compute, pool, config, network, recipe, seed, speed, config.shadow_models)
    answers = compute.map(train_shadows, range(config.shadow_models), name=name, shared=shared, together=stack)
    shadow_MNQ = np.stack([answer["confidences"].double().numpy() for answer in answers])
    roles_MN = design(config, pool.images, config.shadow_models, seed)
    shadow_MNQ[roles_MN == lira.VALIDATION] = np.nan
    return Sweep(shadow_MNQ, roles_MN == lira.TRAIN), np.stack([answer["right"].numpy() for answer in answers])


def _name(pool: Pool, config: AttackConfig, network: Architecture, recipe: Recipe, seed: int) -> str:
    """Whatever changes an answer is in the name; the number of models and of views looked at are not."""
    return f"shadows-{digest(pool.images.fingerprint(), config.design, repr(network), identity(recipe), seed)}"


def stack_of(
    compute: Compute, pool: Pool, config: AttackConfig, network: Architecture, recipe: Recipe, seed: int,
    speed: ShadowSpeed, models: int,
) -> int:  # fmt: skip
    """How many of so many `models` that learn by the recipe are trained together: the stack that is told, or the one
    that a trial of shadow models found fastest, which is made once. It takes one CPU or GPU, so that it is no larger
    than leaves work for the others."""
    shared, name = (pool.images, config, network, recipe, seed), _name(pool, config, network, recipe, seed)
    stack = speed.stack or fastest_stack(compute, shared, config.shadow_models, name)
    return min(stack, math.ceil(models / compute.at_once()))


def check_enough(
    config: AttackConfig, members: Images, others: Images, seed: int, recipe: Recipe | None = None
) -> None:
    """ValueError where there is nothing to compare or to learn from by `recipe`, or some image of the pool would lack
    shadow models that saw it, or that did not; 2 are needed, 3 of persons with unequally many images, of which models
    in turn are taken out."""
    if not config.shadow_models:
        return
    pool, members_N, *_ = make_pool(members, others, config.images, seed)
    if isinstance(recipe, FastRecipe) and (count := int(Whose.of(pool).one_each(members_N).sum())) < FEWEST_BY_FAST:
        raise ValueError(
            f"attack: only {count} {Whose.of(pool).word}s of the training side can be compared, and recipe fast needs "
            f"{FEWEST_BY_FAST}, as it normalises by batches and control models learn from halves of them: give more "
            "training and test images, or leave --recipe fast out"
        )
    if (left := len(np.unique(pool.labels_N))) < 2:
        raise ValueError(
            f"attack: training and test images have {left} class in common, of which every classifier is equally sure, "
            "so that LiRA sees nothing: give test images of at least 2 classes in training, or a larger --attack.images"
        )
    roles_MN = design(config, pool, config.shadow_models, seed)
    least = min(int((roles_MN == role).sum(0).min()) for role in (lira.TRAIN, lira.TEST))
    needed = 3 if Whose.of(pool).unequal else 2
    if least < needed:
        raise ValueError(
            f"attack.shadow_models is {config.shadow_models}: of {pool.units:,} {Whose.of(pool).word}s some would be "
            f"on one side of only {least} of them, and {needed} are needed; give more, or --attack.design half, which "
            f"needs {2 * needed}"
        )


def design(config: AttackConfig, images: Images, models: int, seed: int) -> np.ndarray:
    """(models, N) of TRAIN, VALIDATION and TEST, in the same shares of every class; row m is the same however many
    models there are. Shares of the persons where these are named: all images of one have one role."""
    whose = Whose.of(images)
    labels_U = whose.classes(images.labels_N)
    if config.design == "split":
        return whose.images_of(lira.split_design(models, images.units, seed, labels_U))
    inside_MU = lira.half_design(models, images.units, seed, labels_U)
    return whose.images_of(np.where(inside_MU, lira.TRAIN, lira.TEST).astype(np.int8))


def train_shadows(models: Sequence[int], shared: tuple[Any, ...]) -> list[dict[str, Any]]:
    """One unit of the sweep: train the shadow models of these numbers, together, and ask each about the pool."""
    images, _, _, recipe, seed = shared
    seeds = [int(np.random.SeedSequence([seed, 3, model]).generate_state(1)[0]) for model in models]
    networks = teach(Alone(), shared[2], recipe, *_prepare(models, shared), seeds)
    return [
        {
            "confidences": torch.from_numpy(confidences(one, images, recipe.views())).float(),
            "right": likeness.right(one, images),
        }
        for one in networks
    ]


def _prepare(models: Sequence[int], shared: tuple[Any, ...]) -> tuple[list[Images], int, list[int]]:
    """What each learns from, the images that make an epoch: half the pool, for all alike (half the persons have more or
    fewer images, and go round in as many steps), and seeds of first weights."""
    images, config, _, _, seed = shared
    roles_MN = design(config, images, max(2, *(model + 1 for model in models)), seed)
    parts = [images.select(roles_MN[model] == lira.TRAIN) for model in models]
    starts = [int(np.random.SeedSequence([seed, 4, model]).generate_state(1)[0]) for model in models]
    return parts, len(images) // 2, starts


def fastest_stack(compute: Compute, shared: tuple[Any, ...], models: int, name: str) -> int:
    """The stack of the lowest measured time per model and step, where it is worth 5 %; measured on one worker."""
    sizes = [size for size in STACKS if size <= models]
    (seconds,) = compute.map(time_stacks, [sizes], name=f"{name}-trial-{compute.device}", shared=shared)
    # By what was measured: the trial of an earlier, smaller sweep stands.
    best = min(seconds, key=lambda size: seconds[size])
    return int(best) if seconds[best] < WORTH_IT * seconds["1"] else 1


def _has_place(models: int, shared: tuple[Any, ...]) -> bool:
    """Whether so many networks may be trained together here: on a CPU nothing else says so before the system kills."""
    images, _, network, recipe, _ = shared
    model, shape = network.build(images.shape[2], images.classes).to("meta"), (images.shape[2], *images.shape[:2])
    free, pixels = available_bytes(), torch.empty(recipe.batch_size, *shape, device="meta")
    return free is None or HEADROOM * models * step_bytes([model], lambda: model(pixels)) <= free


def trial_steps(config: AttackConfig, images: int, recipe: RecipeConfig) -> int:
    """Steps in which each stack is timed, of shadow models that learn from so many images: a few small networks would
    else be trained for a quarter of their sweep before it begins."""
    own = config.shadow_models * recipe.epochs * math.ceil(images / recipe.batch_size)
    tried = 2 * sum(size for size in STACKS if size <= config.shadow_models)
    return max(2, min(TRIAL_STEPS, int(TRIAL_SHARE * own / tried)))


def time_stacks(sizes: Sequence[int], shared: tuple[Any, ...]) -> dict[str, float]:
    """Seconds per model and step of each stack size, by its name; infinite where memory ends."""
    found: dict[str, float] = {}
    for size in sizes:
        if size > 1 and not _has_place(size, shared):
            found[str(size)] = float("inf")
            continue
        parts, _, starts = _prepare(range(size), shared)
        recipe: RecipeConfig = replace(shared[3], epochs=2)
        steps, clock = trial_steps(shared[1], len(shared[0]) // 2, shared[3]), Clock()
        try:
            # Progress is told after each epoch; the first warms up.
            teach(clock, shared[2], recipe, parts, steps * recipe.batch_size, starts, list(range(size)))
            found[str(size)] = float(np.diff(clock.times)[0]) / steps / size
        except torch.OutOfMemoryError:
            found[str(size)] = float("inf")
    return found
