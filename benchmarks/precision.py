"""What bfloat16 does to what DP-SGD teaches: a stage of a DP-FETA run again, with the same noise, in both precisions.

    python benchmarks/precision.py RUN_FOLDER --data.path mnist.parquet --data.limit 10000 --secrets 3

RUN_FOLDER is a finished run of those data, whose warmed-up network and price are taken. For each secret the network is
fine-tuned once in float32 and once in bfloat16: who takes part, what they are asked and the noise are the same. Both
draw the same labels from the same seeds, in one way; a support vector machine and logistic regression that learned
from these are tested on real images. "moved" is the root mean square distance to float32's images, in grey levels.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sampling import accuracy, network
from sklearn.linear_model import LogisticRegression

from raysyn.compute.worker import Alone
from raysyn.data import images as data
from raysyn.data.images import DataConfig, Images
from raysyn.methods.dp_feta import presets
from raysyn.privacy import sgd
from raysyn.privacy.sgd import SGDSpeed
from raysyn.runs.storage import load_saved
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.samplers import SamplerConfig, generate

CHUNK = 500


def taught(
    run: Path, private: Images, precision: Literal["float32", "bf16"], secret: bytes, preset: str
) -> torch.nn.Module:  # fmt: skip
    """The run's fine-tuning, from its warmed-up network and at its price, with this secret."""
    model = network(argparse.Namespace(checkpoint=run), only_train(private))
    model.load_state_dict(load_saved(run / "internal/stages/warmup.pt")["model"])
    config, noise = presets.PRESETS[preset].finetune, presets.PRESETS[preset].noise
    task = DiffusionTask(classes=private.classes, **asdict(noise))
    rows = [json.loads(line) for line in (run / "internal/ledger.jsonl").read_text().splitlines()]
    price = next(row for row in rows if row["stage"] == "finetune")
    cost = replace(config.cost(len(private)), noise_multiplier=price["noise_multiplier"])
    speed = SGDSpeed(engine="bookkeeping", channels_last=True, precision=precision)
    released = sgd.fit(Alone(), model, task, private, config, cost, secret, speed)
    model.load_state_dict(released.value["ema"])
    return model


def only_train(private: Images) -> Any:
    """The part of a data set that `sampling.network` looks at."""
    return argparse.Namespace(train=private)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data.path", dest="path", required=True)
    parser.add_argument("--data.limit", dest="limit", type=int)
    parser.add_argument("--preset", default="cpu-mnist")
    parser.add_argument("--secrets", type=int, default=3)
    parser.add_argument("--images", type=int, default=3000)
    args = parser.parse_args()
    dataset = data.load(DataConfig(path=args.path, limit=args.limit))
    labels_N = np.arange(args.images) % dataset.train.classes
    print("| secret | precision | SVM | logistic regression | moved |\n|---:|---|---:|---:|---:|", flush=True)
    for number in range(args.secrets):
        reference: np.ndarray | None = None
        for precision in ("float32", "bf16"):
            model = taught(args.run, dataset.train, precision, bytes([number]) * 32, args.preset)  # type: ignore[arg-type]
            images = np.concatenate([
                generate(model, SamplerConfig(), torch.from_numpy(part), dataset.train.shape, at, torch.device("cpu"))
                for at, part in enumerate(np.split(labels_N, range(CHUNK, args.images, CHUNK)))
            ])  # fmt: skip
            reference = images if reference is None else reference
            moved = float(np.sqrt(np.square(images.astype(float) - reference.astype(float)).mean()))
            flat, test = images.reshape(len(images), -1) / 255, dataset.test.images_NHWC
            linear = LogisticRegression(max_iter=300).fit(flat, labels_N)
            right = 100 * linear.score(test.reshape(len(test), -1) / 255, dataset.test.labels_N)
            svm = accuracy(images, labels_N, dataset.test)
            print(f"| {number} | {precision} | {svm:.1f} | {right:.1f} | {moved:.1f} |", flush=True)


if __name__ == "__main__":
    main()
