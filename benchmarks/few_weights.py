"""What do few private weights cost and give? One network pre-trained on public images, fine-tuned with each choice.

    python benchmarks/few_weights.py --data cifar10.parquet --public cifar100.parquet

The network, the sampler and the learning rate are those of `privimage cpu-cifar10`. CIFAR-100's classes are given to
those of CIFAR-10 by hand, in place of the semantic query, so that the whole budget is DP-SGD's. First the CPU time of a
step of each choice, interleaved, as a ratio to that of all weights; then the loss on real test images after fine-tuning
and its CPU seconds; last the accuracy of the report's CNN trained on what each draws.
"""

from __future__ import annotations

import argparse
import copy
import secrets
import statistics
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from raysyn.compute.worker import Alone, best_device
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import denoising
from raysyn.methods.privimage.presets import PRESETS
from raysyn.metrics.utility import EvalConfig, judge
from raysyn.models.unet import UNet
from raysyn.privacy import cost, engines, sgd
from raysyn.privacy.micro_batches import made_up
from raysyn.privacy.trial import Choice, SGDSpeed
from raysyn.train import loop
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import ALL, few
from raysyn.train.outlook import now
from raysyn.train.samplers import generate

PRESET = PRESETS["cpu-cifar10"]
LIKE = ((69, 23), (58, 81), (14, 6), (42, 88), (19, 15), (97, 34), (44, 93), (31, 38), (71, 73), (13, 89))
"""CIFAR-100's classes for each of CIFAR-10's."""
STEP_IMAGES, TESTED = 32, 1000


def taught(public: Images, names: tuple[str, ...]) -> Images:
    """The public images of the classes above, under the labels of the private ones."""
    label = np.full(100, -1)
    for mine, theirs in enumerate(LIKE):
        label[list(theirs)] = mine
    some = np.flatnonzero(label[public.labels_N] >= 0)
    return Images(public.images_NHWC[some], label[public.labels_N[some]], names)


def ratios(network: nn.Module, task: DiffusionTask, like: Images, choices: list[str], repeats: int) -> dict[str, float]:
    """CPU seconds of forward, backward, clip and sum on a micro-batch: medians, as shares of those of all weights."""
    models = {layers: few(network, layers) for layers in choices}
    inputs = made_up(task, like, 1, STEP_IMAGES, torch.device("cpu"))
    engine = Choice(engine="bookkeeping", micro_batch=STEP_IMAGES, channels_last=True, precision="float32")
    times: dict[str, list[float]] = {layers: [] for layers in models}
    for again in range(repeats + 1):
        for layers, model in models.items():
            engine.lay_out(model)
            started = now()
            engine.clipped_sum(model, task.loss, inputs, 1.0)
            if again:  # the first pays for what is prepared once
                times[layers].append(now() - started)
    middle = {layers: statistics.median(taken) for layers, taken in times.items()}
    whole = middle.get(ALL, next(iter(middle.values())))  # without it, of the first choice
    return {layers: taken / whole for layers, taken in middle.items()}


def accuracy(network: nn.Module, test: Images, options: Any) -> str:
    """Of the report's CNN trained on what is drawn, in percent: the mean of two, and each."""
    labels = torch.arange(options.draws) % test.classes
    sampler = replace(PRESET.sampler, steps=options.sampler_steps)
    seeded = enumerate(labels.split(250))
    parts = [generate(network, sampler, part, test.shape, at, best_device()) for at, part in seeded]
    drawn = Images(torch.cat(parts).numpy(), labels.numpy(), test.class_names)
    shared = {"synthetic": drawn, "test": test.select(slice(5 * TESTED)), "config": EvalConfig(epochs=20)}
    right = [100 * judge(("cnn", "synthetic"), shared | {"seed": seed})["accuracy"] for seed in range(2)]
    return f"CNN {statistics.mean(right):.1f} % ({', '.join(f'{one:.1f}' for one in right)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--public", required=True)
    parser.add_argument("--choices", nargs="+", default=[ALL, "attention", "embedding", "lora:4"])
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1.0])
    parser.add_argument("--pretrain", type=int, default=2_000, help="steps on public images")
    parser.add_argument("--batch", type=int, default=2_048, help="expected private images per step")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--rate", type=float, default=PRESET.finetune.learning_rate)
    parser.add_argument("--clip", type=float, default=PRESET.finetune.max_grad_norm)
    parser.add_argument("--size", type=int, help="pixels, by default 32")
    parser.add_argument("--draws", type=int, default=5_000)
    parser.add_argument("--sampler-steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    private = load(DataConfig(name="cifar10", path=options.data, size=options.size))
    public = taught(
        load(DataConfig(name=None, path=options.public, size=options.size)).train, private.train.class_names
    )
    task = DiffusionTask(classes=private.train.classes, **asdict(PRESET.noise))
    torch.manual_seed(0)
    network = UNet(PRESET.network, 3, private.train.shape[:2], private.train.classes)
    if options.repeats:
        shown = ALL if ALL in options.choices else options.choices[0]
        for layers, ratio in ratios(network, task, private.train, options.choices, options.repeats).items():
            size = sum(one.numel() for one in engines.trained(few(network, layers)))
            print(f"{layers:12} {size:8,} weights, a step takes {ratio:.2f} of the time of {shown}", flush=True)
    started = now()
    learned = loop.fit(Alone(), network, task, public, replace(PRESET.pretrain, iterations=options.pretrain), 0)
    print(f"pre-trained on {len(public):,} images in {now() - started:.0f} CPU seconds", flush=True)
    found = {"no fine-tuning": learned["ema"], "no fine-tuning, raw": learned["model"]}
    scored, real = replace(task, label_dropout=0.0), private.test.select(slice(TESTED))
    for name, weights in found.items():
        network.load_state_dict(weights)
        print(f"{name:30} loss {denoising.loss(network, scored, real, 0):.4f}", flush=True)
    for epsilon in options.epsilons:
        for layers in options.choices:
            tuning = replace(PRESET.finetune, batch_size=options.batch, epochs=options.epochs, layers=layers)
            tuning, n = replace(tuning, learning_rate=options.rate, max_grad_norm=options.clip), len(private.train)
            price = cost.calibrate(epsilon, 1e-5, "prv", [], tuning.cost(n))
            network.load_state_dict(learned["model"])
            started, how = now(), (price, secrets.token_bytes(32), SGDSpeed(engine="bookkeeping", channels_last=True))
            tuned = sgd.fit(Alone(), copy.deepcopy(network), task, private.train, tuning, *how).value
            spent, name = now() - started, f"ε {epsilon:g}, {layers}, {price.steps} steps"
            found[name] = tuned["ema"]
            network.load_state_dict(tuned["ema"])
            told = f"loss {denoising.loss(network, scored, real, 0):.4f}, {spent:.0f} CPU seconds"
            print(f"{name:30} {told}, noise multiplier {price.noise_multiplier:.2f}", flush=True)
    for name, weights in found.items():
        network.load_state_dict(weights)
        print(f"{name:30} {accuracy(network, private.test, options)}", flush=True)


if __name__ == "__main__":
    main()
