"""What alignment does, in a plane (DP-ImgSyn A.3, figure 5): made-up points, no private image, no noise.

Points are images of one pixel with two channels, so that the code that aligns images aligns them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.train import alignment
from raysyn.train.alignment import AlignmentConfig
from raysyn.train.norm_inputs import norm_inputs

POINTS, PUBLIC, STEPS, ITERATIONS, SIDE = 1_000, 60, 600, 60, 80
EDGE = 0.3
"""How far around the unit square is drawn."""
LEARNING_RATE = 0.01


def draw_plane(seed: int, _: None) -> dict[str, Tensor]:
    """One unit: {"private", "public", "aligned": (N, 2) points, "labels": (N,) of the private ones, "teacher",
    "vanilla", "student": (SIDE, SIDE) probabilities of class 1 around the unit square, y first}."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _drawn()


def _drawn() -> dict[str, Tensor]:
    private = torch.rand(POINTS, 2)
    labels = above(private).long()
    # Two clusters, which leave most of the square out.
    centres = torch.tensor([[0.25, 0.25], [0.75, 0.75]])
    public = centres.repeat(PUBLIC // 2, 1) + 0.25 * torch.randn(PUBLIC, 2)
    teacher = _fitted(private, F.one_hot(labels, 2).float())
    with norm_inputs(teacher) as seen, torch.no_grad():
        teacher(_pixels(private))
    wanted = [(h.mean((0, 2, 3)), h.var((0, 2, 3), correction=0)) for h in seen]
    config = AlignmentConfig(iterations=ITERATIONS, learning_rate=0.02, batch_size=PUBLIC)
    aligned, _ = alignment.align(teacher, _pixels(public), alignment.targets(PUBLIC, 2), wanted, config)
    points = aligned.flatten(1)
    return {
        "private": private, "labels": labels, "public": public, "aligned": points, "teacher": _around(teacher),
        "vanilla": _around(_fitted(public, _told(teacher, public))),
        "student": _around(_fitted(points, _told(teacher, points))),
    }  # fmt: skip


def inside(drawn: np.ndarray) -> np.ndarray:
    """What of (SIDE, SIDE) lies in the unit square."""
    margin = round(SIDE * EDGE / (1 + 2 * EDGE))
    return drawn[margin:-margin, margin:-margin]


def above(points: Tensor) -> Tensor:
    """Whether points lie above the paper's cubic: bool (N,)."""
    x, y = points.unbind(1)
    return y > -1.4 * x**3 + 0.9 * x**2 + 0.34


def _pixels(points: Tensor) -> Tensor:
    return points[:, :, None, None].contiguous()


def _told(teacher: nn.Module, points: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher(_pixels(points)).softmax(1)


def _fitted(points: Tensor, soft: Tensor) -> nn.Module:
    """A small network that has learned soft labels, normalised like a teacher."""
    network = nn.Sequential(
        nn.Conv2d(2, 32, 1), nn.GroupNorm(1, 32), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.GroupNorm(1, 32), nn.ReLU(),
        nn.Conv2d(32, 2, 1), nn.Flatten(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    x = _pixels(points)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (128,))
        loss = F.cross_entropy(network(x[chosen]), soft[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return network.eval().requires_grad_(False)


def _around(network: nn.Module) -> Tensor:
    middle = torch.from_numpy((np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * (1 + 2 * EDGE) - EDGE)
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return _told(network, torch.stack((x.flatten(), y.flatten()), 1))[:, 1].view(SIDE, SIDE)
