"""Where images come from: one reader per kind of source, each finding pictures and labels undecoded.

Every error is a ValueError of one sentence that names the field, the value and, where there is one, the row.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.folders import Layout, understood
from raysyn.data.glyphs import glyphs
from raysyn.data.manifest import ENDINGS as MANIFEST
from raysyn.data.manifest import read_manifest
from raysyn.data.names import legible
from raysyn.data.npz import read_npz
from raysyn.data.parquet import read_parquet
from raysyn.data.parquet_schema import USUAL, Columns, check_no_columns
from raysyn.data.several import CHEST, Several, check_one, mend
from raysyn.data.shards import ENDINGS as PARQUET
from raysyn.data.shards import parquet_files
from raysyn.data.source import SPLITS, Source, Split, from_arrays
from raysyn.data.tars import read_tars, tar_shards

TORCHVISION = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
MEDMNIST = (
    *("pathmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist", "bloodmnist"),
    *("tissuemnist", "organamnist", "organcmnist", "organsmnist"),
)
MULTI_LABEL = "chestmnist"
"""Has several labels per image, and is no set by itself: --data.multi-label makes it one."""
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
NAMING = "as a Parquet file or folders of train/ can"
NAMES = ("digits", "glyphs", *TORCHVISION, *MEDMNIST)
PRIVATE_NAMES = (*NAMES, MULTI_LABEL)


def from_name(
    name: str | None, size: int | None, group: str = "data", several: Several | None = None, labels: bool = True
) -> Source:
    """A built-in or downloaded data set; `size` matters where it is published in several sizes. `group` is that of the
    flag which names it: --data.name or --public.name. Without `labels` all images are of one class."""
    if not labels:
        one = _medmnist(name, size, group, labels=False) if name == MULTI_LABEL else from_name(name, size, group)
        return one.without_labels()
    if name == MULTI_LABEL and several is not None:
        return _medmnist(name, size, group, several if several.order else several.by_default(CHEST))
    if name in NAMES:
        check_one(several, f"{group}.name={name!r}")
    if name == "digits":
        return _digits()
    if name == "glyphs":
        return glyphs(size or 28)
    if name in TORCHVISION:
        return _torchvision(name, group)
    if name in NAMES:
        return _medmnist(name, size, group)
    if name == MULTI_LABEL and group == "data":
        raise ValueError(f"data.name={name!r} has several labels per image; {mend('data.')}")
    fault = "has several labels per image" if name == MULTI_LABEL else "is unknown"
    raise ValueError(f"{group}.name={name!r} {fault}; choose one of {', '.join(NAMES)}, or give {group}.path")


def from_path(
    given: str, columns: Columns = USUAL, several: Several | None = None, group: str = "data", labels: bool = True
) -> Source:
    """A Parquet file or a folder of them, WebDataset shards, a table, a .npz file or a folder of class folders, told
    apart by the ending and by what is in the folder. `columns` are of Parquet files and tables alone; `group` is that
    of the flag which gives it. Without `labels` none are read, and all images are of one class."""
    label = f"{group}.path={given!r}"
    source = _read(check_given(given, label), label, columns, several, group, labels)
    return source if labels else source.without_labels()


def _read(path: Path, label: str, columns: Columns, several: Several | None, group: str, labels: bool) -> Source:
    if tar_shards(path):
        check_no_columns(columns, label)
        check_one(several, label)
        return _tars(path, label, labels)
    if not path.exists():
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not path.is_absolute():
            raise ValueError(
                f"{label} is not in the folder of the submitted job, which brings code alone: give an absolute "
                "path that every node reaches"
            )
        raise ValueError(f"{label} does not exist; check the spelling, or use {group}.name")
    ending = path.suffix.lower()
    if parquet_files(path) or (ending in PARQUET and path.is_file()):
        return read_parquet(path, label, columns, several, labels)
    if ending == ".npz" and path.is_file():
        check_no_columns(columns, label)
        return _npz(path, path.stem, label, None, several, group, labels)
    if ending in MANIFEST and path.is_file():
        return _manifest(path, label, columns, several, labels)
    check_one(several, label)
    check_no_columns(columns, label)
    if path.is_dir():
        return _folder(path, label, labels)
    if ending in ARCHIVES:
        raise ValueError(f"{label} is an archive, which is not read as it is; unpack it, and give its folder")
    raise ValueError(
        f"{label} is neither a .parquet, .tar, .npz or .csv file nor a folder with train/ and test/, or one of class "
        "folders"
    )


def check_given(given: str, label: str) -> Path:
    """The path, which may lead to nothing yet; ValueError for what is none of this machine."""
    if not given.strip():
        raise ValueError(
            f"{label} is empty, as where a shell variable is not set; give a file or folder, or leave it out"
        )
    if "://" in given:
        raise ValueError(f"{label} is an address; images are read from files: download them, and give their path")
    try:
        path = Path(given).expanduser()
        mode = path.stat().st_mode if "\0" not in given else 0
    except RuntimeError as error:
        raise ValueError(f"{label} begins in ~ and the name of no user here; give the whole path") from error
    except (FileNotFoundError, NotADirectoryError):
        return path
    except OSError as error:
        raise ValueError(f"{label} cannot be reached ({error.strerror}); mend the path, or its permissions") from error
    if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{label} is no file and no folder, but a pipe, socket or device; give a file")
    return path


def subset(n: int, limit: int) -> np.ndarray:
    """Sorted indices of at most `limit` of n images; a smaller limit gives a subset of a larger one's."""
    # RandomState, not Generator: its streams are frozen, so a subset means the same under every NumPy.
    return np.sort(np.random.RandomState(0).permutation(n)[:limit])


@cache
def _digits() -> Source:
    # From scikit-learn's file: its function for it takes a second to import.
    spec = importlib.util.find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations
    table = np.loadtxt(Path(spec.submodule_search_locations[0], "datasets/data/digits.csv.gz"), delimiter=",")
    labels = table[:, -1].astype(int)
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    # A random sixth, not every sixth: the file cycles through the ten classes, so a stride would favour some.
    test = subset(len(pixels), len(pixels) // 6)
    train = np.setdiff1d(np.arange(len(pixels)), test)
    arrays = {"train": (pixels[train], labels[train]), "test": (pixels[test], labels[test])}
    return from_arrays("digits", "data.name='digits'", arrays, [str(digit) for digit in range(10)])


def cache_folder() -> Path:
    """Where downloads are kept: $RAYSYN_CACHE, by default ~/.cache/raysyn."""
    return Path(os.environ.get("RAYSYN_CACHE") or Path.home() / ".cache" / "raysyn")


def _fetch(name: str, group: str, get: Callable[[Path], Any]) -> Any:
    """`get(cache folder)`, telling the user first, since it may download."""
    folder = cache_folder()
    print(f"{group}.name={name!r}: looking in {folder}, downloading what is missing", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return get(folder)
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{group}.name={name!r} could not be downloaded to {folder} ({reason}); "
            f"try again, or give a file with {group}.path"
        ) from error


def _torchvision(name: str, group: str) -> Source:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, TORCHVISION[name])
    train, test = _fetch(name, group, lambda root: [kind(str(root), part, download=True) for part in (True, False)])
    arrays = {
        split: (np.asarray(part.data), np.asarray(part.targets)) for split, part in (("train", train), ("test", test))
    }
    return from_arrays(name, f"{group}.name={name!r}", arrays, train.classes)


def _medmnist(name: str, size: int | None, group: str, several: Several | None = None, labels: bool = True) -> Source:
    from medmnist import INFO
    from torchvision.datasets.utils import download_url

    info = INFO[name]
    # MedMNIST+ publishes these sizes from the original scans; any other is rescaled from 28 as in the papers.
    native = f"_{size}" if size in (64, 128, 224) else ""
    url, md5, file = info[f"url{native}"], info[f"MD5{native}"], f"{name}{native}.npz"
    # Not by the package's own classes, which hold all images of a split.
    _fetch(name, group, lambda root: download_url(url, str(root), file, md5))
    names = [info["label"][str(label)] for label in range(len(info["label"]))]
    return _npz(cache_folder() / file, name, f"{group}.name={name!r}", names, several, group, labels)


def _npz(
    path: Path, name: str, label: str, names: Sequence[str] | None, several: Several | None, group: str, labels: bool
) -> Source:
    arrays = read_npz(path, label, "" if labels else "_images")
    if not labels:
        images = {key: array for key, array in arrays.items() if isinstance(array, np.ndarray)}
        arrays |= {key.replace("_images", "_labels"): np.zeros(array.shape[:1], int) for key, array in images.items()}
    present = [split for split in SPLITS if split == "train" or {f"{split}_images", f"{split}_labels"} & set(arrays)]
    for key in (f"{split}_{part}" for split in present for part in ("images", "labels")):
        if key not in arrays:
            has = ", ".join(sorted(arrays)[:9]) or "none"
            raise ValueError(f"{label} lacks the array {key}; each split needs its images and labels, and it has {has}")
        if not isinstance(arrays[key], np.ndarray):
            raise ValueError(f"{label}: {key} is no array as numpy.save writes it; write it anew")
    found = {split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in present}
    if names is None and "class_names" in arrays:
        names = _array_names(arrays["class_names"], label)
    source = from_arrays(name, label, found, names, several, group)
    source = replace(source, told="; ".join([f"a .npz file of {', '.join(present)}", *filter(None, [source.told])]))
    return source if "test" in present else replace(source, lacks="lacks the arrays test_images and test_labels")


def _array_names(names: np.ndarray, label: str) -> list[str]:
    """Class names from an array of the file, a name per class."""
    if not isinstance(names, np.ndarray):
        raise ValueError(f"{label}: class_names is no array as numpy.save writes it; write it anew")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{label}: class_names is {names.dtype} of shape {names.shape}; give one string per class")
    return [str(name) for name in names]


def _folder(path: Path, label: str, by_class: bool) -> Source:
    """A folder with train/ and what else there is of the splits; or with class folders, all of them for training."""
    layout = understood(str(path), label, by_class)
    files: dict[str, list[Path]] = {split: [] for split in layout.splits or ("train",)}
    labels: dict[str, list[int]] = {split: [] for split in files}
    for split, file, number in layout.files():
        files[split].append(Path(file.path))
        labels[split].append(number)
    splits = {split: _of_files(layout, found, labels[split]) for split, found in files.items()}
    return Source(path.resolve().name, label, layout.classes, splits, lacks=_lacks(layout), told=layout.told())


def _manifest(path: Path, label: str, columns: Columns, several: Several | None, with_labels: bool) -> Source:
    """A table of images in a folder."""
    manifest = read_manifest(path, label, columns, several, with_labels)
    splits = {}
    for split in SPLITS:
        files = [Path(file) for where, file, _ in manifest.rows if where == split]
        labels = [number for where, _, number in manifest.rows if where == split]
        place = partial(_place_beside, path.parent, files)
        splits[split] = Split(files, np.array(labels, dtype=np.int64), place)
    lacks = "has no test images" if manifest.has_splits else "has no column split, and so no test images"
    return Source(
        path.stem, label, manifest.class_names, splits, NAMING, lacks=lacks, told=manifest.told,
        of_labels=several is None, warned=manifest.warned,
    )  # fmt: skip


def _tars(path: Path, label: str, with_labels: bool) -> Source:
    """WebDataset shards."""
    found = read_tars(path, label, with_labels)
    splits = {}
    for split in SPLITS:
        own = [image for image in found.images if image.split == split]
        labels = np.array([image.label for image in own], dtype=np.int64)
        splits[split] = Split([image.member for image in own], labels, [image.place for image in own])
    lacks = "has no test images" if found.shards.by_names else "has no splits by file names, and so no test images"
    name = path.resolve().name if path.is_dir() else path.stem
    of_labels = not found.declared
    return Source(name, label, found.class_names, splits, NAMING, lacks=lacks, told=found.told, of_labels=of_labels)


def _place_beside(folder: Path, files: Sequence[Path], index: int) -> str:
    return f"file {legible(os.path.relpath(files[index], folder))}"


def _of_files(layout: Layout, files: list[Path], labels: list[int]) -> Split:
    return Split(files, np.array(labels, dtype=np.int64), lambda index: f"file {layout.place(str(files[index]))}")


def _lacks(layout: Layout) -> str:
    """What is said of a folder without test images."""
    if not layout.splits:
        return "has no folders train/ and test/"
    if "test" in layout.splits:
        return "has no test images"
    named = f" (if {layout.splits['val']}/ is for tests, rename it)" if "val" in layout.splits else ""
    return f"has no folder test/{named}"
