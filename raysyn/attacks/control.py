"""The control of a membership attack: what it reads where nothing is remembered.

Training and test images may differ by more than membership (another hospital, another camera). Membership dealt out at
random cannot show that, for it mixes the sides; nor can the shadow models, which learn from both. So two models more
are trained as the target is, on the training side alone, each on one half of the members; its other half, which it
never saw, is told from the non-members by the very attack. Sides that differ in nothing but membership read 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from raysyn.attacks import lira
from raysyn.attacks.gaussians import Confidences, Mask
from raysyn.attacks.pool import Pool
from raysyn.attacks.shadows import Sweep, confidences
from raysyn.attacks.teaching import Architecture, Recipe, identity, teach
from raysyn.attacks.variants import Variant
from raysyn.attacks.verdict import mean_auc
from raysyn.attacks.whose import Whose
from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import Alone
from raysyn.data.images import Images

MODELS = 2
"""One for each half of the members."""


def answers(
    compute: Compute, pool: Pool, network: Architecture, recipe: Recipe, seed: int, stack: int = 1
) -> tuple[Confidences, Mask]:
    """(MODELS, N, Q) confidences of the control models in every view that `recipe` gives, and (MODELS, N), which
    images of the pool each was trained on; models that storage holds already are not trained again, and `stack` of the
    others are trained together."""
    inside_MN = _halves(pool.images, pool.members_N, seed)
    # Of all alike, so that it does not hang on who is trained together.
    most = int(inside_MN.sum(1).max())
    told = (pool.images.fingerprint(), int(pool.members_N.sum()), most, repr(network), identity(recipe), seed)
    shared = (pool.images, pool.members_N, network, recipe, seed)
    found = compute.map(train, range(MODELS), name=f"control-{digest(*told)}", shared=shared, together=stack)
    return np.stack([asked_NQ.double().numpy() for asked_NQ in found]), inside_MN


def train(models: Sequence[int], shared: tuple[Images, Mask, Architecture, Recipe, int]) -> list[torch.Tensor]:
    """One unit: train the control models of these numbers together, each on its half, and ask them about the pool."""
    images, members_N, network, recipe, seed = shared
    inside_MN = _halves(images, members_N, seed)
    parts = [images.select(inside_MN[model]) for model in models]
    own, order = ([_seed(seed, key, model) for model in models] for key in (6, 5))
    built = teach(Alone(), network, recipe, parts, int(inside_MN.sum(1).max()), own, order)
    return [torch.from_numpy(confidences(one, images, recipe.views())).float() for one in built]


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def control(
    shadows: Sweep, asked_MNQ: Confidences, inside_MN: Mask, members_N: Mask, variant: Variant,
    whose: Whose,
) -> dict[str, float]:  # fmt: skip
    """{value, low, high}: the chance that an unseen image (or person) of the members' side scores above one of the
    other side.

    The mean over control models: every member is judged once, by the model that never saw it.
    """
    sides, members_U = [], whose.one_each(members_N)
    for asked_NQ, inside_N in zip(asked_MNQ, inside_MN, strict=True):
        score_U = lira.scores(*shadows, asked_NQ, variant, whose)
        sides.append((score_U[members_U & ~whose.one_each(inside_N)], score_U[~members_U]))
    return mean_auc(sides).as_dict()


def differs(found: Mapping[str, float]) -> bool:
    """Whether the sides differ by more than membership, as far as the control's interval tells."""
    return not found["low"] <= 0.5 <= found["high"]


def _halves(images: Images, members_N: Mask, seed: int) -> Mask:
    """(MODELS, N): the members, shared out between the control models in every class; persons with all images."""
    whose = Whose.of(images)
    members_U, inside_MU = whose.one_each(members_N), np.zeros((MODELS, images.units), bool)
    # A key of its own: shadow models deal with the same seed.
    key = int(np.random.SeedSequence([seed, 7]).generate_state(1)[0])
    labels_U = whose.classes(images.labels_N)[members_U]
    inside_MU[:, members_U] = lira.half_design(MODELS, len(labels_U), key, labels_U)
    return whose.images_of(inside_MU)
