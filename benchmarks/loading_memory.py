"""How much memory does it take to load private images? 2,000 and 20,000 of 224 x 224 x 3, each in a fresh process.

    python benchmarks/loading_memory.py             # JPEGs in Parquet, one row group of 20,000
    python benchmarks/loading_memory.py --kind npz  # a compressed .npz, as MedMNIST+ is handed on
    python benchmarks/loading_memory.py --size 32 --images 200 800  # large pictures, which become small ones

With --size the pictures are PNGs of 600 x 600 without compression, 1 MiB each, in Parquet.

Anonymous memory (RssAnon of /proc/self/status, looked at every 10 ms) is what counts: pages of a file that is mapped,
such as that of the decoded pixels, the system takes back when it needs room. Beside it stands all that the process held
(VmHWM), such pages among it. The process does what a run does before its first stage: load, find copies, fingerprint.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from raysyn.data.images import DataConfig, load

SIDE, CLASSES = 224, 10
LARGE = 600
"""Pixels a side of those that are read with --size."""
LARGE_AT_ONCE = 50
WRITTEN_AT_ONCE = 250


def picture(number: int, side: int = SIDE) -> Image.Image:
    """Soft spots, another one for each number."""
    spots = np.random.default_rng(number).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(spots).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    picture(number).save(file, "JPEG")
    return file.getvalue()


def large(number: int) -> bytes:
    file = io.BytesIO()
    picture(number, LARGE).save(file, "PNG", compress_level=0)
    return file.getvalue()


def write_parquet(path: Path, images: int) -> None:
    """JPEGs, one row group; a tenth is for testing."""
    _write(path, images, jpeg, images)


def write_large(path: Path, images: int) -> None:
    """Pictures of a megabyte each, in several row groups."""
    _write(path, images, large, LARGE_AT_ONCE)


def _write(path: Path, images: int, made: Callable[[int], bytes], some: int) -> None:
    schema = pa.schema({"image": pa.binary(), "label": pa.int64(), "split": pa.string()})
    with pq.ParquetWriter(path, schema) as file:
        for first in range(0, images, some):
            numbers = range(first, min(first + some, images))
            split = ["test" if number % 10 == 0 else "train" for number in numbers]
            labels = np.array(numbers) // 10 % CLASSES
            columns = {"image": list(map(made, numbers)), "label": labels, "split": split}
            file.write_table(pa.table(columns, schema), row_group_size=some)


def write_npz(path: Path, images: int) -> None:
    """Compressed arrays; a tenth is for testing."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for split, count, first in (("train", images * 9 // 10, 0), ("test", images // 10, images)):
            with file.open(f"{split}_images.npy", "w", force_zip64=True) as member:
                shape = (count, SIDE, SIDE, 3)
                told = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, told)
                for number in range(count):
                    member.write(np.asarray(picture(first + number)).tobytes())
            with file.open(f"{split}_labels.npy", "w") as member:
                np.save(member, np.arange(count) % CLASSES)


def told(what: str) -> float:
    """MiB of a line of /proc/self/status."""
    return int(re.findall(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def measured(path: str, size: int | None) -> list[float]:
    """MiB of anonymous memory at first and at most in loading, finding copies and fingerprinting; all that was held;
    seconds."""
    most, ended = [told("RssAnon")], threading.Event()

    def look() -> None:
        while not ended.wait(0.01):
            most[-1] = max(most[-1], told("RssAnon"))

    looking = threading.Thread(target=look)
    looking.start()
    started = time.monotonic()
    most.append(0.0)
    dataset = load(DataConfig(path=path, size=size))
    most.append(0.0)
    assert not dataset.copies.among
    most.append(0.0)
    dataset.fingerprint()
    ended.set()
    looking.join()
    return [*most, told("VmHWM"), time.monotonic() - started]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("parquet", "npz"), default="parquet")
    parser.add_argument("--size", type=int, help="rescale, as --data.size does; of pictures in Parquet")
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000])
    given = parser.parse_args()
    if given.size and given.kind != "parquet":
        parser.error("--size is of pictures in Parquet")
    write = write_npz if given.kind == "npz" else write_large if given.size else write_parquet
    print("| images | pixels MiB | file MiB | at first | loading | copies | fingerprint | held at most | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"set.{given.kind}"
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(write, path, images).result()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                found = pool.submit(measured, str(path), given.size).result()
            size = path.stat().st_size / 2**20
        pixels = images * (given.size or SIDE) ** 2 * 3 / 2**20
        print(f"| {images:,} | {pixels:.0f} | {size:.0f} | " + " | ".join(f"{one:.0f}" for one in found) + " |")


if __name__ == "__main__":
    main()
