"""The membership attack from end to end: ask the targets, train the shadow models, pass the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.attacks import lira
from raysyn.attacks.shadows import Architecture, AttackConfig, ShadowSpeed, confidences, make_pool, sweep
from raysyn.attacks.verdict import aop
from raysyn.compute import Compute, best_device, digest
from raysyn.data import Images
from raysyn.train.classifier import accuracy
from raysyn.train.recipe import RecipeConfig

Weights = Mapping[str, Tensor]


def attack(
    compute: Compute, targets: Mapping[str, Weights], members: Images, test: Images, config: AttackConfig,
    network: Architecture, recipe: RecipeConfig, seed: int, speed: ShadowSpeed,
) -> dict[str, Any]:  # fmt: skip
    """LiRA against finished models of one architecture, with shadow models trained by `recipe`.

    Members are the images that may have shaped the targets, the non-members are the `test` images, on which accuracy
    is measured too.

    Returns {"tested": {target: accuracy}, "attacks": {target: {variants, best, auc, aop}, "shadow_models": how the
    area varies when each of them is the target}, "shadow_images": images that each learned from}; without
    shadow models, "attacks" is empty.
    """
    pool = make_pool(members, test, config.images, seed)
    # Without an attack confidences are nobody's concern, and of one class there are none.
    queries = config.queries if config.shadow_models else 0
    shared = (network, targets, test, pool.images, queries)
    told = (pool.images.fingerprint(), test.fingerprint(), queries, list(map(fingerprint, targets.values())))
    name = f"targets-{digest(*told)}"
    answers = dict(zip(targets, compute.map(ask, list(targets), name=name, shared=shared), strict=True))
    tested = {target: answer["accuracy"] for target, answer in answers.items()}
    if not config.shadow_models:
        return {"tested": tested, "attacks": {}, "shadow_images": 0}
    shadows = sweep(compute, pool, config, network, recipe, seed, speed)
    attacks: dict[str, Any] = {}
    for target, answer in answers.items():
        found = lira.attack(*shadows, answer["confidences"].numpy(), pool.members_N)
        area = found["variants"][found["best"]]["auc"]["value"]
        attacks[target] = {**found, "auc": area, "aop": aop(tested[target], area)}
    attacks["shadow_models"] = lira.spread(*shadows)
    return {"tested": tested, "attacks": attacks, "shadow_images": len(pool.images) // 2}


def ask(target: str, shared: tuple[Architecture, Mapping[str, Weights], Images, Images, int]) -> dict[str, Any]:
    """One unit: a finished model's test accuracy and its confidences on the pool."""
    network, targets, test, pool, queries = shared
    model = loaded(network.build(test.shape[2], test.classes), targets[target])
    found = {"accuracy": accuracy(model, test)}
    return found | ({"confidences": torch.from_numpy(confidences(model, pool, queries))} if queries else {})


def fingerprint(weights: Weights) -> str:
    """SHA-256 (hex) over names, shapes, types and values."""
    found = hashlib.sha256()
    for name, value in weights.items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def loaded(model: nn.Module, weights: Weights) -> nn.Module:
    """The model with these weights, ready to be asked."""
    model.load_state_dict(weights)
    return model.to(best_device()).eval()
