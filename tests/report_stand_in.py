"""A made-up run to report on: digits play the synthetic images, their noisy means the central ones."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from raysyn.data.images import Images
from raysyn.privacy.cost import ADD_REMOVE, Cost
from raysyn.report.meaning import meaning
from raysyn.report.report import Report, environment, no_dp_section

DATA = functools.cache(load_digits)


def digits(count: int = 600) -> Images:
    data = DATA()
    images = np.round(data.images[:count, :, :, None] / 16 * 255).astype(np.uint8)
    return Images(images, data.target[:count].astype(np.int64), tuple(map(str, range(10))))


def central() -> Images:
    source, noise = digits(), np.random.default_rng(0)
    means = [source.images_NHWC[source.labels_N == label].mean(0) for label in range(10) for _ in range(5)]
    noisy = np.clip(np.stack(means) + noise.normal(0, 25, (50, 8, 8, 1)), 0, 255).astype(np.uint8)
    return Images(noisy, np.repeat(np.arange(10), 5), source.class_names)


def privacy() -> dict[str, Any]:
    keys = ("stage", "mechanism", "noise_multiplier", "sampling_rate", "steps", "epsilon_alone")
    rows = [
        ("central", "5 noisy mean images per class", 5.0, 0.1, 5, 0.2041),
        ("finetune", "DP-SGD on the diffusion model", 1.8127, 0.0683, 2197, 9.9431),
    ]
    ledger = [dict(zip(keys, row, strict=True)) | {"adjacency": ADD_REMOVE, "note": ""} for row in rows]
    costs = [
        Cost(**{name: row[name] for name in ("mechanism", "noise_multiplier", "sampling_rate", "steps")})
        for row in ledger
    ]
    return {
        "guarantee": "dp",
        "epsilon": 9.9912,
        "delta": 1.5149e-6,
        "adjacency": ADD_REMOVE,
        "accountant": "prv",
        "priced_by": "prv",
        "epsilon_prv": 9.9912,
        "epsilon_rdp": 10.8402,
        "epsilon_budget": 10.0,
        "what_an_attacker_can_do": {
            "sentence": "Whatever the attack, it finds at most 31.5 % at 1 % of false alarms.",
            "most_found_at_false_alarms": {"0.01": 0.315},
            "most_right_guesses": 0.82,
        },
        "meaning": meaning(costs, 9.9912, 1.5149e-6),
        "ledger": ledger,
        "uncharged_choices": ["the preset's clip norm was tuned on MNIST by the paper's authors"],
    }


def report(dp: bool = True) -> Report:
    utility = {
        "cnn": (0.9312, 0.9889),
        "resnet9": (0.9401, 0.9938),
        "mlp": (0.9016, 0.9783),
        "logreg": (0.87, 0.9213),
    }
    return Report(
        method="DP-FETA",
        preset="cpu-mnist",
        config={
            "data": {"name": "mnist", "path": None, "limit": None},
            "budget": {"epsilon": 10.0, "delta": None},
            "network": {"channels": [32, 64], "attention": False},
            "seed": 0,
        },
        dataset={
            "name": "mnist",
            "n_train": 60000,
            "n_test": 10000,
            "shape": [28, 28, 1],
            "classes": tuple(map(str, range(10))),
        },
        privacy=privacy() if dp else no_dp_section(),
        metrics={
            "utility": {
                **{key: {"accuracy": a, "accuracy_real_data": b} for key, (a, b) in utility.items()},
                "mean": {"accuracy": 0.9107, "accuracy_real_data": 0.9706},
                "best": {"accuracy": 0.9401, "accuracy_real_data": 0.9938, "classifier": "resnet9"},
            },
            "fidelity": {
                "fid": None,
                "fid_reason": "no Inception weights were given (--eval.inception-weights)",
                "frechet_distance_own_features": np.float32(12.31),
                "precision": 0.71,
                "recall": float("nan"),
            },
        },
        attacks={},
        timings={
            "central": {"wall_s": 0.8, "cpu_s": 1.1},
            "warmup": {"wall_s": 312.0, "cpu_s": 601.5},
            "finetune": {"wall_s": 2011.2, "cpu_s": 3988.0},
            "evaluate": {"wall_s": 240.0, "cpu_s": 431.0},
        },
        environment=environment(device="cpu", workers=1, engine={"name": "loop", "trial": None}),
    )


DONE = (
    "Asked 5 noisy mean images per class of the private images.",
    "Trained a diffusion model on the noisy means, with augmentations.",
    "Fine-tuned it on the private images with DP-SGD, 2,197 steps.",
    "Drew 600 images, equally many per class, and trained four classifiers on them.",
)
