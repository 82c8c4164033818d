"""Sets made of ImageNet (Deng et al., 2009): all of it in few pixels, ten classes of it, and 200."""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.prepared.finding import files_in, folders_in, home_of, lines_of, look_for, wrong_line
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

CLASSES = 1000
TEN = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}  # fmt: skip
"""Imagenette's classes."""


def downsampled(source: Path) -> Found:
    """ImageNet in 32 or 64 pixels (Chrabaszcz et al., 2017), in batches of pickles or .npz. Classes are called as
    map_clsloc.txt has them, where that lies beside the batches, and else by their numbers."""
    batches = {"train": _batches(source, r"train_data_batch_(\d+)"), "val": _batches(source, r"val_data()")}
    for part, name in (("train", "train_data_batch_1"), ("val", "val_data")):
        if not batches[part]:
            raise ValueError(
                f"{source} has no {name} and no {name}.npz, nor has a folder in it: unpack the batches of train and "
                "val there"
            )
    names = next((path for path in (source, *_inside(source)) if (path / "map_clsloc.txt").is_file()), None)
    known = [str(number) for number in range(CLASSES)] if names is None else _map(names / "map_clsloc.txt")
    said = [] if names else ["There is no map_clsloc.txt, so that classes are called by their numbers."]
    return Found(known, partial(_of_batches, batches), said=said)


def _inside(source: Path) -> list[Path]:
    return [source / name for name in folders_in(source)]


def _batches(source: Path, pattern: str) -> list[Path]:
    """By their numbers; of a batch that is there in both kinds, one."""
    found: dict[int, Path] = {}
    for folder in (source, *_inside(source)):
        for name in files_in(folder):
            if (match := re.fullmatch(rf"{pattern}(\.npz)?", name)) is not None:
                found.setdefault(int(match[1] or 0), folder / name)
    return [found[number] for number in sorted(found)]


def _map(path: Path) -> list[str]:
    """`n02119789 kit_fox` and so on, in the order of their numbers from 1: words alone are not unique."""
    names: dict[int, str] = {}
    for number, line in lines_of(path):
        match line.split():
            case [wnid, place, word] if place.isdecimal():
                names[int(place)] = f"{wnid} {word}"
            case _:
                raise wrong_line(path, number, line, "a WordNet id, a number and a word")
    if sorted(names) != list(range(1, CLASSES + 1)):
        raise ValueError(f"{path} has {len(names)} classes, not 1 to {CLASSES}: give the file as it was downloaded")
    return [names[place] for place in range(1, CLASSES + 1)]


def _of_batches(batches: Mapping[str, Sequence[Path]]) -> Iterator[Picture]:
    for part, paths in batches.items():
        for path in paths:
            pixels, labels = _batch(path)
            for at, label in enumerate(labels):
                yield Picture(part, pixels[at], label, f"{path.name}, image {at}")


def _batch(path: Path) -> tuple[np.ndarray, list[int]]:
    """Pixels (N, H, W, 3) and labels from 0 of one batch, of which the memory holds one at a time."""
    try:
        held: Any
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                held = {key: arrays[key] for key in ("data", "labels")}
        else:
            with path.open("rb") as file:
                held = _ArraysAlone(file, encoding="latin1").load()
        flat, labels = np.asarray(held["data"]), np.asarray(held["labels"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as a batch of data and labels ({error}): give the file as it was downloaded"
        ) from error
    side = math.isqrt(flat.shape[1] // 3) if flat.ndim == 2 else 0
    if flat.dtype != np.uint8 or not side or flat.shape[1] != 3 * side * side or labels.shape != flat.shape[:1]:
        raise ValueError(
            f"{path} holds data of {flat.dtype} {flat.shape} and labels {labels.shape}, not a row of 3 x 32 x 32 or "
            "3 x 64 x 64 bytes and a label per image: give the file as it was downloaded"
        )
    if labels.size and not (labels.min() >= 1 and labels.max() <= CLASSES):
        raise ValueError(f"{path} has labels {labels.min()} to {labels.max()}, not 1 to {CLASSES}: give another file")
    return flat.reshape(-1, 3, side, side).transpose(0, 2, 3, 1), (labels.astype(int) - 1).tolist()


class _ArraysAlone(pickle.Unpickler):
    """Reads arrays, numbers and text: a pickle from elsewhere must not run anything."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy's own name for it has changed since these files were written.
        home = module.replace("numpy.core", "numpy._core")
        if (home, name) not in {
            ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"),
        }:  # fmt: skip
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which is no array")
        return super().find_class(home, name)


def imagenette(source: Path) -> Found:
    """Its ten classes by name; parts train and val, as in the version that is given."""
    home = home_of(source, [name for name in folders_in(source) if name.startswith("imagenette")], ("train", "val"))
    mend = "unpack imagenette2.tgz, and give the folder that it makes"
    roots = {part: look_for(home, (f"{part}/",), mend) for part in ("train", "val")}
    for root in roots.values():
        for wnid in TEN:
            look_for(root, (f"{wnid}/",), mend)
    return Found(
        tuple(TEN.values()),
        partial(_of_folders, {part: [root / wnid for wnid in TEN] for part, root in roots.items()}),
        {part: sum(len(files_in(root / wnid)) for wnid in TEN) for part, root in roots.items()},
    )


def _of_folders(folders: Mapping[str, Sequence[Path]]) -> Iterator[Picture]:
    for part, classes in folders.items():
        for label, folder in enumerate(classes):
            for name in files_in(folder):
                yield Picture(part, folder / name, label, f"file {part}/{folder.name}/{name}")


def tiny(source: Path) -> Found:
    """Tiny ImageNet's 200 classes; parts train and val, whose classes val_annotations.txt says."""
    home = home_of(source, ("tiny-imagenet-200",), ("train", "val"))
    mend = "unpack tiny-imagenet-200.zip, and give the folder that it makes"
    train = look_for(home, ("train/",), mend)
    annotations = look_for(home, ("val/val_annotations.txt",), mend)
    shown = look_for(home, ("val/images/",), mend)
    wnids = folders_in(train)
    words = dict(_words(home / "words.txt")) if (home / "words.txt").is_file() else {}
    folders = [look_for(train, (f"{wnid}/images/",), mend) for wnid in wnids]
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    valid = list(_annotated(annotations, numbers))

    def pictures() -> Iterator[Picture]:
        for label, folder in enumerate(folders):
            for name in files_in(folder):
                yield Picture("train", folder / name, label, f"file train/{wnids[label]}/images/{name}")
        for name, label in valid:
            yield Picture("val", shown / name, label, f"file val/images/{name}")

    images = Counter({"train": sum(len(files_in(folder)) for folder in folders), "val": len(valid)})
    return Found([f"{wnid} {words[wnid]}" if wnid in words else wnid for wnid in wnids], pictures, images)


def _words(path: Path) -> Iterator[tuple[str, str]]:
    """(WordNet id, first of its words)."""
    for number, line in lines_of(path):
        wnid, tab, words = line.partition("\t")
        if not tab:
            raise wrong_line(path, number, line, "a WordNet id and words")
        yield wnid, words.split(",")[0].strip()


def _annotated(path: Path, numbers: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for number, line in lines_of(path):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in numbers:
            raise wrong_line(path, number, line, "an image and a class of train/")
        yield fields[0], numbers[fields[1]]
