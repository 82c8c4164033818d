"""The settings of each method that fit so many images of such a size: what `raysyn auto` runs, and what was measured.

All of it follows from what is public: number, shape and classes of the images, and the budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raysyn.methods.bearing import bearable_noise
from raysyn.methods.misfits import DROWNED
from raysyn.metrics.utility import Name
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.central import CentralConfig, mean_query

ALONE = ("noisy_means", "dp_merf", "dp_ntk", "dp_kernel", "p3gm", "dp_feta")
WITH_PUBLIC = ("evolution", "dp_mepf", "privimage", "dp_imgsyn", "dp_prototypes")
"""Methods that auto knows: those that need nothing, and those that need public images."""
STEPS, BATCH = 250, 256
"""Of DP-SGD. A batch is 1/2 of few images at most."""
LEAST, MOST = 3_000, 10_000
"""Synthetic images: as many as there are private ones, but within these."""
JUDGES: tuple[Name, ...] = ("cnn", "mlp", "logreg")
JUDGING: dict[str, Any] = {"classifiers": JUDGES, "epochs": 8, "learning_rate": 1e-3}
"""How what was made is judged: in little time, and everywhere alike."""
MATCHING = 1_000
"""Steps of a generator that learns to have noisy means of features."""
ROUND = 0.1
"""Share of the images that DP-Kernel asks in a round."""
QUERY_SHARE = 0.05
"""Of the budget, for PrivImage's question which public classes resemble the images."""

Flags = Mapping[str, str]
"""{flag without its hyphens: its words, with spaces between}."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is public about a set of private images."""

    n: int
    """Training images; where persons are named, these."""
    shape: tuple[int, int, int]
    """Height, width, channels."""
    classes: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A method's preset, and how it is changed for these images."""

    method: str
    preset: str
    flags: Flags

    def words(self) -> list[str]:
        """Of a command line, after `raysyn`."""
        told = [word for name, value in self.flags.items() for word in (f"--{name}", *value.split())]
        return [self.method, self.preset, *told]


def setting(method: str, facts: Facts, budget: Budget) -> Setting:
    """Of one method for such images; ValueError where the budget promises nothing for so many."""
    made = {"synthetic": str(min(max(facts.n, LEAST), MOST)), **_judging(facts)}
    colour = facts.shape[2] == 3
    either = "cpu-cifar10" if colour else "cpu-fashion_mnist"
    if method == "dp_prototypes":
        # It releases public images, which are no worse the fewer private ones there are. No further judges.
        own = {"synthetic": str(MOST), "students": "", "dissimilarity.images": "0"}
        return Setting(method=method, preset=either, flags=made | own)
    if method in ("noisy_means", "evolution"):
        return Setting(method=method, preset=either, flags=made)
    if method in ("dp_merf", "dp_ntk", "dp_mepf"):
        preset = either if method == "dp_mepf" else "cpu-fashion_mnist"
        return Setting(method=method, preset=preset, flags=made | {"training.iterations": str(MATCHING)})
    if method == "dp_kernel":
        asked = {"rounds.batch-size": str(max(1, round(ROUND * facts.n)))}
        return Setting(method=method, preset="cpu-fashion_mnist", flags=made | asked)
    batch = max(1, min(BATCH, facts.n // 2))
    epochs = f"{STEPS * batch / facts.n:.4g}"
    steps = {"batch-size": str(batch), "epochs": epochs}
    if method == "dp_imgsyn":
        # As many steps of the alignment as the noise of the statistics bears.
        flags = {f"training.{name}": value for name, value in steps.items()} | {"alignment.iterations": "None"}
        return Setting(method=method, preset="cpu-fashion_mnist", flags=made | flags)
    flags = {f"finetune.{name}": value for name, value in steps.items()}
    if method == "p3gm":
        return Setting(method=method, preset="cpu-fashion_mnist", flags=made | flags)
    if method == "privimage":
        noise = bearable_noise(budget, facts.n, 1, QUERY_SHARE)
        flags |= {"semantic.noise-multiplier": f"{noise:.3g}", "pretrain.iterations": "1000"}
        if colour:  # as it was measured: the preset's own rate and guidance were tried on all of CIFAR-10 alone
            flags |= {"finetune.learning-rate": "0.002", "sampler.guidance": "0.0"}
            flags |= {"finetune.learning-rate-warmup": "None", "finetune.learning-rate-decay": "None"}
        return Setting(method=method, preset="cpu-cifar10" if colour else "cpu-mnist", flags=made | flags)
    return Setting(method=method, preset="cpu-fashion_mnist", flags=made | flags | _central(facts, budget))


def _judging(facts: Facts) -> dict[str, str]:
    if facts.classes == 1:
        return {"eval.classifiers": ""}  # who would all answer with it
    return {
        f"eval.{name.replace('_', '-')}": " ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in JUDGING.items()
    }


def _central(facts: Facts, budget: Budget) -> dict[str, str]:
    """One noisy mean of each class, of all its images; none where it would be noise."""
    noise = math.ceil(bearable_noise(budget, facts.n, 1) * 100) / 100
    asked = CentralConfig(count=facts.classes, sampling_rate=1.0, noise_multiplier=noise)
    if noise * mean_query(asked, facts.shape).sensitivity * facts.classes / facts.n >= DROWNED:
        return {"central.count": "0", "augment.operations": "0"}
    return {
        "central.count": str(facts.classes), "central.sampling-rate": "1",
        "central.noise-multiplier": f"{noise:g}", "warmup.iterations": "250", "augment.operations": "0",
    }  # fmt: skip
