"""How many network calls does an image need? Accuracy and Fréchet distance of each sampler, EDM-1000 as the reference.

    python benchmarks/sampling.py                                # trains a small network on digits first, no privacy
    python benchmarks/sampling.py --checkpoint RUN_FOLDER        # the fine-tuned network of a DP-FETA run
    python benchmarks/sampling.py --checkpoint net.pt --data.path mnist.parquet --images 2000

A .pt checkpoint is a dictionary saved by torch.save: "ema", the weights, and "network", the fields of UNetConfig.
Every sampler draws the same labels from the same seeds; a support vector machine is trained on the images of one
seed and tested on real ones, and accuracies are means over the seeds with their standard deviation: with few images
it differs by a point or two from seed to seed, more than most samplers do. "Fréchet" is the distance to as many real
images in features of a CNN that was trained on real images, the mean over the seeds. "moved" is the root mean square
distance, in grey levels, to the images that the reference makes of the same noise: it means something only for
samplers that add no noise on the way.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor

from raysyn.compute.local import LocalWorker
from raysyn.compute.worker import best_device
from raysyn.data import images as data
from raysyn.data.images import DataConfig, Dataset, Images
from raysyn.metrics.distances import Moments, frechet_distance, moments
from raysyn.models.unet import UNet, UNetConfig
from raysyn.runs.storage import Store, load_saved, save_atomically
from raysyn.train import classifier, loop
from raysyn.train.classifier import ClassifierConfig
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig, generate, network_calls

CHUNK = 250
SEED = 0
CALLS = (20, 12, 8, 6, 4)
SOLVERS: dict[Literal["ddim", "dpmpp", "unipc"], str] = {"ddim": "DDIM", "dpmpp": "DPM-Solver++(2M)", "unipc": "UniPC"}
FEATURE_EPOCHS = 10
SMALL = UNetConfig(width=16, blocks=1, attention=())


def samplers(reference_steps: int, guidance: float) -> list[tuple[str, SamplerConfig]]:
    """What is compared, the reference first."""
    chosen = [
        ("EDM, no churn (reference)", SamplerConfig(name="edm", steps=reference_steps)),
        ("DDIM", SamplerConfig(name="ddim", steps=50)),
        *((name, SamplerConfig(name=solver, steps=steps)) for steps in CALLS for solver, name in SOLVERS.items()),
        ("SDE-DPM-Solver++(2M)", SamplerConfig(name="dpmpp", steps=20, churn=1.0)),
        ("DPM-Solver++(2M) from sigma 20", SamplerConfig(name="dpmpp", steps=20, sigma_max=20.0)),
    ]
    if guidance:
        chosen.append((f"DPM-Solver++(2M), w {guidance}", SamplerConfig(name="dpmpp", steps=20, guidance=guidance)))
    return chosen


def network(args: argparse.Namespace, dataset: Dataset) -> UNet:
    """The averaged weights of a checkpoint or run folder; without one, of a short non-private training."""
    path = args.checkpoint
    if path is None:
        path = args.work / "sampling-digits.pt"
        if not path.exists():
            train(dataset.train, path, args)
    if path.is_dir():
        saved = load_saved(path / "internal" / "stages" / "finetune.pt")
        fields = json.loads((path / "internal" / "run.json").read_text())["config"]["network"]
    else:
        saved = load_saved(path)
        fields = saved["network"]
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    config = replace(UNetConfig(), **fields)
    height, width, channels = dataset.train.shape
    model = UNet(config, channels, (height, width), dataset.train.classes)
    model.load_state_dict(saved["ema"])
    return model


def train(images: Images, path: Path, args: argparse.Namespace) -> None:
    """Non-private training on real images, for want of a checkpoint."""
    height, width, channels = images.shape
    torch.manual_seed(SEED)
    model = UNet(SMALL, channels, (height, width), images.classes)
    worker = LocalWorker("sampling-training", Store(args.work), show)
    config = LoopConfig(iterations=args.iterations, learning_rate=1e-3)
    result = loop.fit(worker, model, DiffusionTask(classes=images.classes), images, config, SEED)
    save_atomically({"ema": result["ema"], "network": asdict(SMALL)}, path)


def show(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
    if done % max(1, total // 10) == 0:
        print(f"# {stage} {done}/{total}", {k: round(v, 3) for k, v in metrics.items()}, file=sys.stderr)


def draw(model: UNet, sampler: SamplerConfig, labels_N: Tensor, shape: tuple[int, int, int], seed: int) -> Tensor:
    """uint8 (N, H, W, C), in chunks with a seed each."""
    chunks = [
        generate(model, sampler, chunk, shape, 10_000 * seed + i, best_device())
        for i, chunk in enumerate(labels_N.split(CHUNK))
    ]
    return torch.cat(chunks)


def accuracy(images_NHWC: np.ndarray, labels_N: np.ndarray, test: Images) -> float:
    """Per cent of real test images that a support vector machine trained on the given ones gets right."""
    flat = images_NHWC.reshape(len(images_NHWC), -1) / 255
    judge = SVC(C=10).fit(flat, labels_N)
    return 100 * float(judge.score(test.images_NHWC.reshape(len(test), -1) / 255, test.labels_N))


def judge_of(real: Images) -> Callable[[np.ndarray], Moments]:
    """Moments of images (N, H, W, C) in the features of a CNN that was trained on real ones."""
    learned, held = classifier.hold_out(real, 0.1, SEED)
    config = ClassifierConfig(epochs=FEATURE_EPOCHS)
    model = classifier.fit(learned, held, "cnn", config, SEED, best_device()).model

    def of(images_NHWC: np.ndarray) -> Moments:
        nobody = np.zeros(len(images_NHWC), dtype=np.int64)
        return moments(classifier.features(model, Images(images_NHWC, nobody, real.class_names)))

    return of


def measure(model: UNet, dataset: Dataset, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per sampler, shown as soon as it is known."""
    labels = torch.arange(args.images) % dataset.train.classes
    order = np.random.default_rng(SEED).permutation(len(dataset.train))
    apart = min(args.images, len(order) // 2)
    real, others = dataset.train.select(order[:apart]), dataset.train.select(order[apart : 2 * apart])
    moments_of = judge_of(dataset.train)
    compared = moments_of(others.images_NHWC)
    print(f"| {'sampler':32} | calls |  accuracy % | Fréchet | moved | CPU s / 1000 images |")
    print(f"|{'-' * 34}|------:|------------:|--------:|------:|--------------------:|")
    real_accuracy = accuracy(real.images_NHWC, real.labels_N, dataset.test)
    near = frechet_distance(moments_of(real.images_NHWC), compared)
    print(f"| {f'{len(real)} real images':32} |       | {real_accuracy:11.1f} | {near:7.3g} |       | {'':19} |")
    rows: list[dict[str, Any]] = []
    reference = None
    for name, sampler in samplers(args.reference_steps, args.guidance):
        began = time.process_time()
        drawn = [draw(model, sampler, labels, dataset.train.shape, seed) for seed in range(args.seeds)]
        spent = (time.process_time() - began) / args.images / args.seeds * 1000
        reference = drawn[0] if reference is None else reference
        accuracies = [accuracy(images.numpy(), labels.numpy(), dataset.test) for images in drawn]
        near = float(np.mean([frechet_distance(moments_of(images.numpy()), compared) for images in drawn]))
        row = {
            "sampler": name, "calls": network_calls(sampler), "cpu_s_per_1000": spent, "frechet": near,
            "accuracy": float(np.mean(accuracies)), "deviation": float(np.std(accuracies)),
            "moved": float((drawn[0].double() - reference.double()).square().mean().sqrt()),
        }  # fmt: skip
        rows.append(row)
        print(
            f"| {name:32} | {row['calls']:5} | {row['accuracy']:5.1f} ± {row['deviation']:3.1f} | {near:7.3g} "
            f"| {row['moved']:5.1f} | {spent:19.1f} |",
            flush=True,
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a .pt file or a run folder; without it, train on the data")
    parser.add_argument("--data.name", dest="name", default="digits")
    parser.add_argument("--data.path", dest="path", help="Parquet file, npz file or folder")
    parser.add_argument("--images", type=int, default=1000, help="images per sampler")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions with other noise")
    parser.add_argument("--reference-steps", type=int, default=1000, help="Heun steps of the reference")
    parser.add_argument("--guidance", type=float, default=0.0, help="adds a guided row")
    parser.add_argument("--iterations", type=int, default=3000, help="training steps without a checkpoint")
    parser.add_argument("--test-limit", type=int, default=2000, help="real test images to judge on")
    parser.add_argument("--work", type=Path, default=Path("sampling-work"), help="where a trained network is kept")
    args = parser.parse_args(arguments)
    print("# python benchmarks/sampling.py", *(sys.argv[1:] if arguments is None else arguments))
    dataset = data.load(DataConfig(name=args.name, path=args.path))
    dataset = replace(dataset, test=dataset.test.select(np.arange(min(len(dataset.test), args.test_limit))))
    return measure(network(args, dataset), dataset, args)


if __name__ == "__main__":
    main()
