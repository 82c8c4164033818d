"""The figures of fidelity that are of Inception's features, from parts that several machines measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from raysyn.metrics.distances import Moments, frechet_distance, kernel_distance, moments
from raysyn.metrics.inception_score import inception_score, over_splits
from raysyn.metrics.likelihood import TOO_FEW, feature_likelihood

FIGURES = ("fid", "kid", "inception_score", "inception_score_ten_splits")
"""Those that every report names, if only to say why they are missing."""

Parts = Mapping[str, Sequence[Mapping[str, Any]]]
"""What `fidelity.measure` answered, by source."""


def figures(parts: Parts, reason: str, seed: int) -> dict[str, Any]:
    """{name: {value, reason, images}}; without any part null with the `reason`."""
    if not parts["synthetic"]:
        return {name: {"value": None, "reason": reason} for name in FIGURES}
    made, real = (added(parts[source]) for source in ("synthetic", "real"))
    score = inception_score(
        made.count,
        torch.stack([part["probabilities"] for part in parts["synthetic"]]).sum(0),
        sum(part["negative_entropy"] for part in parts["synthetic"]),
    )
    images = {"synthetic": made.count, "real": real.count}
    return {
        "fid": {"value": frechet_distance(made, real), "reason": None, "images": images},
        "inception_score": {"value": score, "reason": None, "images": {"synthetic": made.count}},
        "inception_score_ten_splits": over_splits([part["splits"] for part in parts["synthetic"]]),
        **_of_vectors(
            {side: torch.cat([part["vectors"] for part in some]) for side, some in parts.items() if some}, seed
        ),
    }


def _of_vectors(vectors: Mapping[str, torch.Tensor], seed: int) -> dict[str, Any]:
    """Of the vectors that were kept. In halves at random: images may be in the order of their classes, or in turn."""
    made, real = vectors["synthetic"], vectors["real"]
    generator = torch.Generator().manual_seed(seed)
    one, other = (real[half] for half in torch.randperm(len(real), generator=generator).tensor_split(2))
    count = min(len(made), len(other))
    few = made[torch.randperm(len(made), generator=generator)[:count]]
    enough = count > 1
    found: dict[str, Any] = {
        "kid": kernel_distance(made, real),
        "kid_real_halves": kernel_distance(other, one) if len(other) > 1 else None,
        "fid_one_half": frechet_distance(moments(few), moments(one)) if enough else None,
        "fid_one_half_real_halves": frechet_distance(moments(other[:count]), moments(one)) if enough else None,
    }
    numbers = {"kid": {"synthetic": len(made), "real": len(real)}}
    numbers["fid_one_half"] = {"synthetic": count, "real": len(one)}
    if "test" in vectors:
        found |= feature_likelihood(made, real, vectors["test"], seed)
        numbers["fld"] = {"synthetic": min(len(made), len(real) // 2), "real": len(real), "test": len(vectors["test"])}
    return {
        name: {"value": value, "reason": TOO_FEW if value is None else None}
        | ({"images": numbers[name]} if name in numbers else {})
        for name, value in found.items()
    }


def added(parts: Sequence[Mapping[str, Any]]) -> Moments:
    """The moments of all parts together."""
    first, *rest = (Moments(part["count"], part["sum"], part["outer"]) for part in parts)
    return sum(rest, start=first)
