"""Where images come from: one reader per kind of source, each finding pictures and labels undecoded.

Every error is a ValueError of one sentence that names the field, the value and, where there is one, the row.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from raysyn.data.folders import Layout, understood
from raysyn.data.glyphs import glyphs
from raysyn.data.manifest import ENDINGS as MANIFEST
from raysyn.data.manifest import read_manifest
from raysyn.data.names import legible
from raysyn.data.npz import npz_source
from raysyn.data.parquet import read_parquet
from raysyn.data.parquet_schema import USUAL, Columns, check_no_columns
from raysyn.data.persons import Persons
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
    given: str, columns: Columns = USUAL, several: Several | None = None, group: str = "data", labels: bool = True,
    persons: Persons | None = None,
) -> Source:  # fmt: skip
    """A Parquet file or a folder of them, WebDataset shards, a table, a .npz file or a folder of class folders, told
    apart by the ending and by what is in the folder. `columns` are of Parquet files and tables alone; `group` is that
    of the flag which gives it. Without `labels` none are read, and all images are of one class; without `persons`
    nobody is named."""
    label = f"{group}.path={given!r}"
    path = check_given(given, label)
    source = _read(path, label, columns, several, group, labels, persons)
    source = source if persons is None else persons.of_names(source, labels)
    return source if labels else source.without_labels()


def _read(
    path: Path, label: str, columns: Columns, several: Several | None, group: str, labels: bool,
    persons: Persons | None,
) -> Source:  # fmt: skip
    def check_columns() -> None:
        check_no_columns(columns, label)
        if persons is not None:
            persons.check_no_column(label)

    if tar_shards(path):
        check_no_columns(columns, label)
        check_one(several, label)
        return _tars(path, label, labels, persons)
    if not path.exists():
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and not path.is_absolute():
            raise ValueError(
                f"{label} is not in the folder of the submitted job, which brings code alone: give an absolute "
                "path that every node reaches"
            )
        raise ValueError(f"{label} does not exist; check the spelling, or use {group}.name")
    ending = path.suffix.lower()
    if parquet_files(path) or (ending in PARQUET and path.is_file()):
        return read_parquet(path, label, columns, several, labels, persons)
    if ending == ".npz" and path.is_file():
        check_columns()
        return npz_source(path, path.stem, label, None, several, group, labels, persons is not None)
    if ending in MANIFEST and path.is_file():
        return _manifest(path, label, columns, several, labels, persons)
    check_one(several, label)
    check_columns()
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
        # Some say what went wrong in lines of their own, a mirror each.
        reason = shorten(str(error), 200, placeholder=" …") or type(error).__name__
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
    return npz_source(cache_folder() / file, name, f"{group}.name={name!r}", names, several, group, labels)


def _folder(path: Path, label: str, by_class: bool) -> Source:
    """A folder with train/ and what else there is of the splits; or with class folders, all of them for training."""
    layout = understood(str(path), label, by_class)
    files: dict[str, list[Path]] = {split: [] for split in layout.splits or ("train",)}
    labels: dict[str, list[int]] = {split: [] for split in files}
    for split, file, number in layout.files():
        files[split].append(Path(file.path))
        labels[split].append(number)
    splits = {split: _of_files(layout, split, found, labels[split]) for split, found in files.items()}
    return Source(path.resolve().name, label, layout.classes, splits, lacks=_lacks(layout), told=layout.told())


def _manifest(
    path: Path, label: str, columns: Columns, several: Several | None, with_labels: bool, persons: Persons | None
) -> Source:
    """A table of images in a folder."""
    manifest = read_manifest(path, label, columns, several, with_labels, persons)
    splits = {}
    for split in SPLITS:
        at = [number for number, (where, _, _) in enumerate(manifest.rows) if where == split]
        files = [Path(manifest.rows[number][1]) for number in at]
        labels = np.array([manifest.rows[number][2] for number in at], dtype=np.int64)
        whose = None if manifest.persons is None else np.array([manifest.persons[number] for number in at], np.int64)
        place = partial(_place_beside, path.parent, files)
        splits[split] = Split(files, labels, place, whose, partial(_paths, path.parent, files))
    lacks = "has no test images" if manifest.has_splits else "has no column split, and so no test images"
    return Source(
        path.stem, label, manifest.class_names, splits, NAMING, lacks=lacks, told=manifest.told,
        of_labels=several is None, warned=manifest.warned, persons=manifest.named,
    )  # fmt: skip


def _tars(path: Path, label: str, with_labels: bool, persons: Persons | None) -> Source:
    """WebDataset shards."""
    found = read_tars(path, label, with_labels, persons)
    splits = {}
    for split in SPLITS:
        at = [number for number, image in enumerate(found.images) if image.split == split]
        own = [found.images[number] for number in at]
        labels = np.array([image.label for image in own], dtype=np.int64)
        whose = None if found.persons is None else np.array([found.persons[number] for number in at], np.int64)
        places, names = [image.place for image in own], [image.name.removeprefix("./") for image in own]
        splits[split] = Split([image.member for image in own], labels, places, whose, partial(iter, names))
    lacks = "has no test images" if found.shards.by_names else "has no splits by file names, and so no test images"
    name = path.resolve().name if path.is_dir() else path.stem
    of_labels = not found.declared
    return Source(
        name, label, found.class_names, splits, NAMING, lacks=lacks, told=found.told, of_labels=of_labels,
        warned=found.warned, persons=found.named,
    )  # fmt: skip


def _place_beside(folder: Path, files: Sequence[Path], index: int) -> str:
    return f"file {legible(os.path.relpath(files[index], folder))}"


def _paths(folder: Path, files: Sequence[Path]) -> Iterator[str]:
    """Those of `files` from a folder, with / between their parts."""
    return (Path(os.path.relpath(file, folder)).as_posix() for file in files)


def _of_files(layout: Layout, split: str, files: list[Path], labels: list[int]) -> Split:
    return Split(
        files, np.array(labels, dtype=np.int64), lambda index: f"file {layout.place(str(files[index]))}",
        names=partial(_paths, Path(layout.path, layout.splits.get(split, "")), files),
    )  # fmt: skip


def _lacks(layout: Layout) -> str:
    """What is said of a folder without test images."""
    if not layout.splits:
        return "has no folders train/ and test/"
    if "test" in layout.splits:
        return "has no test images"
    named = f" (if {layout.splits['val']}/ is for tests, rename it)" if "val" in layout.splits else ""
    return f"has no folder test/{named}"
