"""What pipelines share that draw images from a trained model: drawing, judging, keeping images in a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import Setting
from raysyn.methods.floor import floor_images
from raysyn.metrics.fidelity import fidelity
from raysyn.metrics.utility import EvalConfig, unit_name, utility
from raysyn.train.samplers import SamplerConfig, generate

# One seed per chunk: part of the result, so a constant and not a speed setting.
CHUNK = 500


def synthesise(
    setting: Setting, draw: Callable[[Any, Any], Tensor], shared: Any, class_names: tuple[str, ...], told: str
) -> Images:
    """`config.synthetic` images, classes in turn: `draw((seed, labels), shared)` for each chunk, fanned out."""
    config, compute = setting.config, setting.compute
    labels_N = np.arange(config.synthetic, dtype=np.int64) % len(class_names)
    chunks = [
        (int(np.random.SeedSequence([config.seed, index]).generate_state(1)[0]), labels_N[at : at + CHUNK])
        for index, at in enumerate(range(0, config.synthetic, CHUNK))
    ]
    parts = setting.folder.stage(
        "synthesise", lambda: torch.cat(compute.map(draw, chunks, name="synthesise", shared=shared))
    )
    setting.console.stage("synthesise", f"{config.synthetic:,} images, {told}")
    return Images(parts.numpy(), labels_N, class_names)


def draw_chunk(chunk: tuple[int, np.ndarray], shared: tuple[nn.Module, SamplerConfig, tuple[int, int, int]]) -> Tensor:
    """One unit of a diffusion model's synthesis: (seed, labels) to uint8 (N, H, W, C)."""
    (seed, labels_N), (denoiser, sampler, shape) = chunk, shared
    return generate(denoiser, sampler, torch.from_numpy(labels_N), shape, seed, best_device())


def judging(config: EvalConfig) -> list[str]:
    """The stages of `evaluate`."""
    floor = ["floor"] if config.floor else []
    return [*([*floor, "utility"] if config.classifiers else []), "fidelity"]


def evaluate(setting: Setting, synthetic: Images, config: EvalConfig) -> dict[str, Any]:
    """Train on synthetic, test on real, and fidelity: figures that never enter release/."""
    compute, dataset, seed = setting.compute, setting.dataset, setting.config.seed
    floor = None
    if config.floor and config.classifiers:
        floor = floor_images(setting, min(len(synthetic), config.images or len(synthetic)))
    useful = setting.folder.stage(
        unit_name("utility", config),
        lambda: utility(compute, synthetic, dataset.train, dataset.test, config, seed, floor),
    )
    if useful:
        setting.console.stage("utility", f"mean accuracy on real test images over the classifiers: {beside(useful)}")
    faithful = setting.folder.stage(
        unit_name("fidelity", config), lambda: fidelity(compute, synthetic, dataset.train, config, seed)
    )
    setting.console.stage("fidelity", "distances between synthetic and real images")
    return {"utility": useful, "fidelity": faithful}


def beside(useful: Mapping[str, Any]) -> str:
    """The mean accuracy and its yardsticks, in words."""
    mean, guessing = useful["mean"], useful["guessing"]
    yardsticks = {"floor": mean.get("accuracy_floor"), "largest class": guessing["largest_class"]}
    told = [f"{name} {100 * value:.1f} %" for name, value in yardsticks.items() if value is not None]
    return f"{100 * mean['accuracy']:.1f} % ({', '.join(told)}, real images {100 * mean['accuracy_real_data']:.1f} %)"


def pack(images: Images) -> dict[str, Tensor]:
    """Images as a stored stage keeps them: plain tensors."""
    return {"images": torch.from_numpy(images.images_NHWC), "labels": torch.from_numpy(images.labels_N)}


def unpack(stored: Mapping[str, Tensor], like: Images) -> Images:
    """The inverse of `pack`, with the class names of `like`."""
    return Images(stored["images"].numpy(), stored["labels"].numpy(), like.class_names)
