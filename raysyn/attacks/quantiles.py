"""Membership by quantile regression, without shadow models (Bertran et al., NeurIPS 2023, "Scalable Membership
Inference Attacks via Quantile Regression").

How sure a classifier is of an image that it never saw depends on the image. A small network learns that, as mean and
deviation of a Gaussian, from images and classes of non-members alone; an image is scored by how many deviations the
classifier is surer of it. Every threshold on that score is one quantile for each image, and all of them are the ROC. It
costs half of the non-members: those that the network learned from are not judged.

Shapes: N images of the pool, U units (images or persons).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raysyn.attacks import lira
from raysyn.attacks.found import ANSWERS
from raysyn.attacks.found import found as record
from raysyn.attacks.gaussians import Mask
from raysyn.attacks.pool import Pool
from raysyn.attacks.verdict import mean_auc, verdict
from raysyn.attacks.whose import Whose
from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import as_float
from raysyn.train.memory import at_once

NAME = "quantile regression, half of the non-members"
NOTE = (
    "It has no shadow models: a small network learned from half of the non-members, who are not judged. It is of one "
    "target: no other was attacked so."
)
FEWEST = 20
"""Non-members (images, or persons) to learn from below which there is nothing to regress on."""
BATCH, MOST_EPOCHS, PATIENCE = 128, 40, 5
HELD_OUT = 0.2
"""Share of these non-members that say when to stop."""
RATE, DECAY = 2e-3, 1e-4
WIDEST = 3.0
"""Most by which the logarithm of a deviation departs from that of all."""


def attack(
    compute: Compute, pool: Pool, targets: Mapping[str, NDArray[np.float64]], controls_MN: NDArray[np.float64],
    inside_MN: Mask, seed: int,
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:  # fmt: skip
    """{target: (verdict with its `control` and `fitted_on`, how many images that takes; a record, see `found.found`)},
    from what targets and control models (trained on `inside_MN`) say of the pool; empty where non-members are too few.
    """
    whose = Whose.of(pool.images)
    fitted_N = _half(pool, whose, seed)
    if whose.one_each(fitted_N).sum() < FEWEST:
        return {}
    asked = {f"target {name}": said_N for name, said_N in targets.items()}
    asked |= {f"control {index}": said_N for index, said_N in enumerate(controls_MN)}
    told = (pool.images.fingerprint(), digest(*(said_N.tobytes() for said_N in asked.values())), seed)
    shared = (pool.images, fitted_N, asked, seed)
    answers = compute.map(regress, list(asked), name=f"quantiles-{digest(*told)}", shared=shared)
    score_U = {name: _of_units(answer.numpy(), whose) for name, answer in zip(asked, answers, strict=True)}
    members_U = whose.one_each(pool.members_N)
    others_U = ~members_U & ~whose.one_each(fitted_N)
    control = mean_auc(
        [
            (score_U[f"control {index}"][members_U & ~whose.one_each(own_N)], score_U[f"control {index}"][others_U])
            for index, own_N in enumerate(inside_MN)
        ]
    )
    found = dict[str, tuple[dict[str, Any], dict[str, Any]]]()
    for name in targets:
        sides = (score_U[f"target {name}"][members_U], score_U[f"target {name}"][others_U])
        judged = verdict(*sides) | {"control": control.as_dict(), "fitted_on": int(fitted_N.sum())}
        found[name] = judged, record(f"Quantile regression, on the {name}", ANSWERS, *sides, unit=whose.word, note=NOTE)
    return found


def regress(name: str, shared: tuple[Images, Mask, Mapping[str, NDArray[np.float64]], int]) -> Tensor:
    """One unit: (N,) how many deviations a classifier is surer of each image than it would be had it not seen it."""
    images, fitted_N, asked, seed = shared
    mean_N, std_N = gaussians(images, fitted_N, asked[name][fitted_N], seed)
    return torch.from_numpy((asked[name] - mean_N) / std_N)


def gaussians(
    images: Images, fitted_N: Mask, said_F: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation, (N,) each, of what would be said of each image, from what is `said_F` of the fitted ones.

    It starts as one Gaussian for all images, stays with it where images tell nothing, and depends on the seed alone.
    """
    centre, spread = float(said_F.mean()), max(float(said_F.std()), 1e-6)
    device, rng = best_device(), np.random.default_rng([seed, 9])
    wanted = torch.from_numpy((said_F - centre) / spread).float().to(device)
    pixels, labels = as_tensor(images.images_NHWC), torch.tensor(images.labels_N)
    rows = np.flatnonzero(fitted_N)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        network = _Regressor(images.shape[2], images.classes)
    network = network.to(device)

    def told(places: NDArray[np.int64]) -> Tensor:
        chosen = torch.from_numpy(places)
        answer: Tensor = network(as_float(pixels[chosen].to(device)).contiguous(), labels[chosen].to(device))
        return answer

    held, learned = _held_out(Whose.of(images).only(fitted_N), len(rows), rng)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    best, kept, waited = _loss_of(told, rows, held, wanted, images), copy.deepcopy(network.state_dict()), 0
    for _ in range(MOST_EPOCHS):
        for part in np.array_split(rng.permutation(learned), math.ceil(len(learned) / at_once(BATCH, images.shape))):
            optimizer.zero_grad(set_to_none=True)
            _loss(told(rows[part]), wanted[part]).mean().backward()
            optimizer.step()
        now, waited = _loss_of(told, rows, held, wanted, images), waited + 1
        if now < best:
            best, kept, waited = now, copy.deepcopy(network.state_dict()), 0
        if waited == PATIENCE:
            break
    network.load_state_dict(kept)
    with torch.inference_mode():
        parts = np.array_split(np.arange(len(images)), math.ceil(len(images) / at_once(4 * BATCH, images.shape)))
        found_N2 = torch.cat([told(part) for part in parts]).double().cpu().numpy()
    return centre + spread * found_N2[:, 0], spread * np.exp(found_N2[:, 1])


def _loss(told_B2: Tensor, wanted_B: Tensor) -> Tensor:
    """Of each image: the negative logarithm of the Gaussian's density, less a constant."""
    return told_B2[:, 1] + ((wanted_B - told_B2[:, 0]) * torch.exp(-told_B2[:, 1])) ** 2 / 2


def _loss_of(told: Any, rows: NDArray[np.int64], places: NDArray[np.int64], wanted: Tensor, images: Images) -> float:
    with torch.inference_mode():
        parts = np.array_split(places, math.ceil(len(places) / at_once(4 * BATCH, images.shape)))
        return float(torch.cat([_loss(told(rows[part]), wanted[part]) for part in parts]).mean())


class _Regressor(nn.Module):
    """An image and its class to mean and logarithm of the deviation, (N, 2), both 0 at first."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[at], widths[at + 1], 3, stride=2, padding=1) for at in range(len(widths) - 1)
        )
        self.classes, self.hidden, self.last = classes, nn.Linear(2 * widths[-1] + classes, 64), nn.Linear(64, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        x = images_NCHW
        for convolution in self.convolutions:
            x = F.gelu(convolution(x))
        seen = [x.mean((-2, -1)), x.amax((-2, -1)), F.one_hot(labels_N, self.classes).float()]
        mean, deviation = self.last(F.gelu(self.hidden(torch.cat(seen, 1)))).unbind(1)
        return torch.stack([mean, WIDEST * torch.tanh(deviation / WIDEST)], 1)


def _half(pool: Pool, whose: Whose, seed: int) -> Mask:
    """(N,) the non-members to learn from: half of them in every class, persons with all images."""
    others_U = ~whose.one_each(pool.members_N)
    labels_U, fitted_U = whose.classes(pool.images.labels_N)[others_U], np.zeros(len(others_U), bool)
    # A key of its own: shadow and control models deal with the same seed.
    key = int(np.random.SeedSequence([seed, 10]).generate_state(1)[0])
    fitted_U[others_U] = lira.half_design(2, len(labels_U), key, labels_U)[0]
    return whose.images_of(fitted_U)


def _held_out(whose: Whose, count: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Places of those that say when to stop, and of all others, in random order; a person's images on one side."""
    rank_U = np.argsort(rng.permutation(whose.units(count)))
    order = np.argsort(rank_N := whose.images_of(rank_U), kind="stable")
    return np.split(order, [int((rank_N < math.ceil(HELD_OUT * len(rank_U))).sum())])


def _of_units(score_N: NDArray[np.float64], whose: Whose) -> NDArray[np.float64]:
    """A person's is the sum of their images', by the deviation that such a sum has."""
    if whose.persons_N is None:
        return score_N
    return whose.joined(score_N[:, None])[:, 0] / np.sqrt(whose.images_U)
