"""A sweep of LiRA's shadow models: each is trained like the target on its part of the pool, and then asked.

One model is one durable unit, so that a killed worker costs what it was training and a larger sweep starts from those
that exist. Several may be trained stacked on one device, which a short trial decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.attacks import lira
from raysyn.compute import Alone, Clock, Compute, digest
from raysyn.data import Images
from raysyn.train.classifier import as_float
from raysyn.train.memory import HEADROOM, at_once, available_bytes, step_bytes
from raysyn.train.recipe import RecipeConfig, fit, one_hot

QUERIES = 18
STACKS = (1, 2, 4, 8)
TRIAL_STEPS = 8
WORTH_IT = 0.95


@dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """LiRA against the finished models (Knowledge Recycling 3.6)."""

    shadow_models: int = 256
    """Shadow models to train; 0 leaves the attack out. More may be asked for later: those that exist are kept."""
    design: Literal["split", "half"] = "split"
    """`split`: each shadow model is trained on a random 50 % of the pool, 10 % lie aside and 40 % are unseen, the
    paper's shares (it splits its validation images; here members must be among them); `half`: every image is in exactly
    half of the models, as in LiRA's own, which needs fewer models."""
    images: int | None = None
    """At most this many members (training images) and at most as many non-members (test images) make the pool that
    shadow models are trained on halves of; by default all."""
    queries: int = 2
    """Views of each image that are asked, up to 18: itself, its mirror image, then both shifted by 4 pixels."""

    def __post_init__(self) -> None:
        if self.shadow_models < 0 or self.shadow_models == 1:
            raise ValueError(f"attack.shadow_models is {self.shadow_models}: give at least 2, or 0 for no attack")
        if self.images is not None and self.images < 2:
            raise ValueError(f"attack.images is {self.images}: give at least 2, or leave it out")
        if not 1 <= self.queries <= QUERIES:
            raise ValueError(f"attack.queries is {self.queries}: give 1 to {QUERIES}")


@dataclass(frozen=True, kw_only=True)
class ShadowSpeed:
    """How shadow models share a device; nothing here changes the result beyond rounding."""

    stack: int | None = None
    """Shadow models trained together as one computation; by default what a short trial finds fastest."""

    def __post_init__(self) -> None:
        if self.stack is not None and self.stack < 1:
            raise ValueError(f"on.shadows.stack is {self.stack}: give at least 1, or leave it out")


class Architecture(Protocol):
    """What target and shadow models have in common: a frozen dataclass whose fields are plain values."""

    def build(self, channels: int, classes: int) -> nn.Module:
        """An untrained network for float images (N, channels, H, W) in [-1, 1] to logits (N, classes)."""


class Pool(NamedTuple):
    """The images an attack is about, members first."""

    images: Images
    members_N: np.ndarray


def make_pool(members: Images, others: Images, most: int | None, seed: int) -> Pool:
    """All images of both sides, or `most` of each, drawn without replacement."""
    sides = []
    for index, side in enumerate((members, others)):
        count = min(len(side), most or len(side))
        chosen = np.random.default_rng([seed, index]).choice(len(side), count, replace=False)
        sides.append(side.select(np.sort(chosen)))
    images = Images(
        np.concatenate([side.images_NHWC for side in sides]),
        np.concatenate([side.labels_N for side in sides]),
        members.class_names,
    )
    return Pool(images, np.arange(len(images)) < len(sides[0]))


def views(images_NHWC: Tensor, queries: int) -> Tensor:
    """The first `queries` of 18 fixed views: float (N, Q, C, H, W) in [-1, 1]; shifts fill with the edge's pixels.

    The same for every model and for members and non-members alike.
    """
    images = as_float(images_NHWC)
    shifts = [(0, 0), *((y, x) for y in (-4, 0, 4) for x in (-4, 0, 4) if (y, x) != (0, 0))]
    height, width = images.shape[-2:]
    padded = F.pad(images, (4, 4, 4, 4), mode="replicate")
    made = []
    for y, x in shifts[: -(-queries // 2)]:
        moved = padded[..., 4 + y : 4 + y + height, 4 + x : 4 + x + width]
        made += [moved, moved.flip(-1)]
    return torch.stack(made[:queries], 1)


@torch.inference_mode()
def confidences(network: nn.Module, images: Images, queries: int, batch_size: int = 250) -> np.ndarray:
    """(N, Q) logit-scaled confidences of the true class, float64, in evaluation mode."""
    device, network = next(network.parameters()).device, network.eval()
    pixels, labels = torch.tensor(images.images_NHWC), images.labels_N
    parts, batch_size = [], at_once(batch_size, images.shape)
    for at in range(0, len(images), batch_size):
        asked = views(pixels[at : at + batch_size].to(device), queries)
        logits = network(asked.flatten(0, 1)).float().view(len(asked), queries, -1).cpu().numpy()
        parts.append(lira.confidence(logits, labels[at : at + batch_size]))
    return np.concatenate(parts)


class Sweep(NamedTuple):
    """What the shadow models answered."""

    shadow_MNQ: np.ndarray
    """Confidences; NaN where the image lay aside for that model."""
    inside_MN: np.ndarray


def sweep(
    compute: Compute, pool: Pool, config: AttackConfig, network: Architecture, recipe: RecipeConfig, seed: int,
    speed: ShadowSpeed,
) -> Sweep:  # fmt: skip
    """Train and ask `config.shadow_models` networks; models that storage holds already are not trained again."""
    shared = (pool.images, config, network, recipe, seed)
    # Whatever changes an answer is in the name; the number of models is not.
    told = (pool.images.fingerprint(), config.design, config.queries, repr(network), asdict(recipe), seed)
    name = f"shadows-{digest(*told)}"
    stack = speed.stack or fastest_stack(compute, shared, config.shadow_models, name)
    # A stack takes one CPU or GPU: no larger than leaves work for the others.
    stack = min(stack, math.ceil(config.shadow_models / compute.at_once()))
    answers = compute.map(train_shadows, range(config.shadow_models), name=name, shared=shared, together=stack)
    shadow_MNQ = np.stack([answer["confidences"].double().numpy() for answer in answers])
    roles_MN = design(config, len(pool.images), config.shadow_models, seed)
    shadow_MNQ[roles_MN == lira.VALIDATION] = np.nan
    return Sweep(shadow_MNQ, roles_MN == lira.TRAIN)


def check_enough(config: AttackConfig, members: Images, others: Images, seed: int) -> None:
    """ValueError where some image of the pool would lack shadow models that saw it, or that did not; 2 are needed."""
    if not config.shadow_models:
        return
    count = sum(min(len(side), config.images or len(side)) for side in (members, others))
    roles_MN = design(config, count, config.shadow_models, seed)
    least = min(int((roles_MN == role).sum(0).min()) for role in (lira.TRAIN, lira.TEST))
    if least < 2:
        raise ValueError(
            f"attack.shadow_models is {config.shadow_models}: of {count:,} images some would be on one side of only "
            f"{least} of them, and 2 are needed; give more, or --attack.design half, which needs 4"
        )


def design(config: AttackConfig, examples: int, models: int, seed: int) -> np.ndarray:
    """(models, examples) of TRAIN, VALIDATION and TEST; row m is the same however many models there are."""
    if config.design == "split":
        return lira.split_design(models, examples, seed)
    return np.where(lira.half_design(models, examples, seed), lira.TRAIN, lira.TEST).astype(np.int8)


def train_shadows(models: Sequence[int], shared: tuple[Any, ...]) -> list[dict[str, Any]]:
    """One unit of the sweep: train the shadow models of these numbers, together, and ask each about the pool."""
    images, config, _, recipe, seed = shared
    networks, feed, size = _prepare(models, shared)
    seeds = [int(np.random.SeedSequence([seed, 3, model]).generate_state(1)[0]) for model in models]
    states = fit(Alone(), networks, feed, size, recipe, seeds)
    answers = []
    for one, state in zip(networks, states, strict=True):
        one.load_state_dict(state)
        asked = confidences(one, images, config.queries)
        answers.append({"confidences": torch.from_numpy(asked).float()})
    return answers


def _prepare(models: Sequence[int], shared: tuple[Any, ...]) -> tuple[list[nn.Module], Any, int]:
    """Fresh networks, what each learns from, and the images that make an epoch: half the pool, for all alike."""
    images, config, network, _, seed = shared
    roles_MN = design(config, len(images), max(2, *(model + 1 for model in models)), seed)
    parts = [images.select(roles_MN[model] == lira.TRAIN) for model in models]
    examples = [one_hot(part.images_NHWC, part.labels_N, part.classes) for part in parts]
    networks: list[nn.Module] = []
    for model in models:
        torch.manual_seed(int(np.random.SeedSequence([seed, 4, model]).generate_state(1)[0]))
        networks.append(network.build(images.shape[2], images.classes))
    return networks, lambda epoch, m: examples[m], len(images) // 2


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


def time_stacks(sizes: Sequence[int], shared: tuple[Any, ...]) -> dict[str, float]:
    """Seconds per model and step of each stack size, by its name; infinite where memory ends."""
    found: dict[str, float] = {}
    for size in sizes:
        if size > 1 and not _has_place(size, shared):
            found[str(size)] = float("inf")
            continue
        networks, feed, _ = _prepare(range(size), shared)
        recipe: RecipeConfig = replace(shared[3], epochs=2)
        clock = Clock()
        try:
            # Progress is told after each epoch; the first warms up.
            fit(clock, networks, feed, TRIAL_STEPS * recipe.batch_size, recipe, list(range(size)))
            found[str(size)] = float(np.diff(clock.times)[0]) / TRIAL_STEPS / size
        except torch.OutOfMemoryError:
            found[str(size)] = float("inf")
    return found
