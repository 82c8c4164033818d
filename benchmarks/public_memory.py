"""How much memory do public images take? The same run on a set and on four copies of it, each in a fresh process.

    python benchmarks/public_memory.py              # 20,000 made-up images of 32 x 32 in Parquet, and 80,000

Each process does with the set what PrivImage does: decode it, train the classifier of public classes on it (for equally
many steps), select some classes, read batches of these. What is left of its peak is the libraries' and the network's.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods.privimage.stages import curriculum
from raysyn.models.semantic import SemanticNetConfig
from raysyn.train import semantic
from raysyn.train.loop import batch

CLASSES, SHAPE = 100, (32, 32, 3)


def write(path: Path, images: int, copies: int) -> None:
    """Noise as PNG, row groups of 2,000, `copies` times."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(images):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, SHAPE, np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    part = pa.table({"image": files, "label": np.arange(images) % CLASSES, "split": ["train"] * images})
    with pq.ParquetWriter(path, part.schema) as writer:
        for _ in range(copies):
            writer.write_table(part, row_group_size=2000)


def held() -> float:
    """The most MiB that this process has held; `ru_maxrss` would begin with what the process before it held."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def measured(path: str, cache: str, epochs: int) -> list[float]:
    """MiB held after each step: none, decoding, the classifier's training, batches of the selection."""
    os.environ["RAYSYN_CACHE"] = cache
    torch.set_num_threads(1)
    config = semantic.QueryConfig(
        network=SemanticNetConfig(name="resnet14", width=4), epochs=epochs, batch_size=512, learning_rate=0.01
    )
    network = config.network.build(3, CLASSES)
    found = [held()]
    public = load_public(PublicConfig(path=(path,)), SHAPE)
    found.append(held())
    semantic.fit(Alone(), network, public.train, public.valid, config, 0)
    found.append(held())
    private = Images(np.zeros((10, *SHAPE), np.uint8), np.arange(10), tuple("abcdefghij"))
    chosen = curriculum(private, public, np.arange(20).reshape(10, 2))
    for step in range(500):
        chosen.images_NHWC[batch(len(chosen), 64, 0, step)]
    found.append(held())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    given = parser.parse_args()
    print("| public images | pixels MiB | at first | decoded | classifier trained | selection read |")
    print("|---|---|---|---|---|---|")
    for copies in (1, 4):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "public.parquet"
            write(path, given.images, copies)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(measured, str(path), folder, 4 // copies).result()
        pixels = copies * given.images * np.prod(SHAPE) / 2**20
        print(f"| {copies * given.images:,} | {pixels:.0f} | " + " | ".join(f"{one:.0f}" for one in found) + " |")


if __name__ == "__main__":
    main()
