"""Where images come from: one reader per kind of source, each finding pictures and labels undecoded.

Every error is a ValueError of one sentence that names the field, the value and, where there is one, the row.
"""

from __future__ import annotations

import functools
import json
import os
import string
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
NAMES = ("digits", "glyphs", *TORCHVISION, *MEDMNIST)
SPLITS = ("train", "val", "test")
COLUMNS = ("image", "label", "split")
OTHER_NAMES = (*SPLITS, "training", "testing", "valid", "validation")
"""What folders of splits are called elsewhere, in small letters."""


@dataclass(frozen=True)
class Split:
    """One split, undecoded: `pictures` are uint8 HWC arrays, bytes of image files or their paths."""

    pictures: Sequence[Any] | np.ndarray
    labels_N: np.ndarray
    places: Sequence[str] | Callable[[int], str]
    """What to call picture i in an error."""

    def place(self, index: int) -> str:
        return self.places(index) if callable(self.places) else self.places[index]


@dataclass(frozen=True)
class Source:
    """What a reader found; `label` opens error sentences, `class_names` is None where unknown, and then `naming` says
    how they could be declared."""

    name: str
    label: str
    class_names: Sequence[str] | None
    splits: dict[str, Split]
    naming: str = ""
    lacks: str = "has no test images"
    """What is said of it where it has none."""
    released: bool = False
    """Whether raysyn made it: then all its images are for training."""


def from_name(name: str | None, size: int | None, group: str = "data") -> Source:
    """A built-in or downloaded data set; `size` matters where it is published in several sizes. `group` is that of the
    flag which names it: --data.name or --public.name."""
    if name == "digits":
        return _digits()
    if name == "glyphs":
        return glyphs(size or 28)
    if name in TORCHVISION:
        return _torchvision(name, group)
    if name in NAMES:
        return _medmnist(name, size, group)
    fault = "has several labels per image, which is not supported" if name == "chestmnist" else "is unknown"
    raise ValueError(f"{group}.name={name!r} {fault}; choose one of {', '.join(NAMES)}, or give {group}.path")


def from_path(given: str) -> Source:
    """A Parquet file, a .npz file or a folder of class folders, told apart by the ending."""
    path, label = Path(given).expanduser(), f"data.path={given!r}"
    if not path.exists():
        raise ValueError(f"{label} does not exist; check the spelling, or use data.name")
    if path.is_dir():
        return _folder(path, label)
    if path.suffix == ".npz":
        return _npz(path, path.stem, label, None)
    if path.suffix in (".parquet", ".pq"):
        return _parquet(path, label)
    raise ValueError(
        f"{label} is neither a .parquet file, a .npz file nor a folder with train/ and test/, or one of class folders"
    )


def subset(n: int, limit: int) -> np.ndarray:
    """Sorted indices of at most `limit` of n images; a smaller limit gives a subset of a larger one's."""
    # RandomState, not Generator: its streams are frozen, so a subset means the same under every NumPy.
    return np.sort(np.random.RandomState(0).permutation(n)[:limit])


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # A random sixth, not every sixth: the file cycles through the ten classes, so a stride would favour some.
    test = subset(len(pixels), len(pixels) // 6)
    train = np.setdiff1d(np.arange(len(pixels)), test)
    arrays = {"train": (pixels[train], digits.target[train]), "test": (pixels[test], digits.target[test])}
    return _from_arrays("digits", "data.name='digits'", arrays, [str(digit) for digit in range(10)])


FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
    *("STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)


def glyphs(size: int, per_class: int = 120) -> Source:
    """Letters of the fonts that come with Matplotlib, each turned, slanted and framed a little differently: a public
    set that is always at hand. Grey, white on black, `size` pixels a side; a sixth is for tests."""
    letters = list(string.ascii_letters)
    rng = np.random.RandomState(0)
    pixels = np.stack([_glyph(letter, size, rng) for letter in letters for _ in range(per_class)])
    labels = np.repeat(np.arange(len(letters)), per_class)
    test = np.arange(len(labels)) % 6 == 0
    arrays = {"train": (pixels[~test], labels[~test]), "test": (pixels[test], labels[test])}
    return _from_arrays("glyphs", "data.name='glyphs'", arrays, letters)


def _glyph(letter: str, size: int, rng: np.random.RandomState) -> np.ndarray:
    """One letter, uint8 (size, size)."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from PIL import Image, ImageDraw

    face = _font(FONTS[rng.randint(len(FONTS))])
    canvas = Image.new("L", (128, 128))
    ImageDraw.Draw(canvas).text((64, 64), letter, fill=255, font=face, anchor="mm")
    turn, slant = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.2, 0.2)
    matrix = np.array([[np.cos(turn), np.sin(turn) + slant], [-np.sin(turn), np.cos(turn)]])
    matrix[0] *= rng.uniform(0.8, 1.25)
    moved = 64 - matrix @ [64, 64]
    canvas = canvas.transform(
        canvas.size, Image.Transform.AFFINE, (*matrix[0], moved[0], *matrix[1], moved[1]), Image.Resampling.BILINEAR
    )
    left, top, right, bottom = canvas.getbbox() or (0, 0, *canvas.size)
    side = max(right - left, bottom - top) * rng.uniform(1.0, 1.2)
    across, down = ((side - extent) * rng.uniform(0.3, 0.7) for extent in (right - left, bottom - top))
    box = (left - across, top - down, left - across + side, top - down + side)
    framed = canvas.transform((4 * size, 4 * size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    return np.asarray(framed.resize((size, size), Image.Resampling.BOX))


@functools.cache
def _font(name: str) -> Any:
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf")), 64)


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
    return _from_arrays(name, f"{group}.name={name!r}", arrays, train.classes)


def _medmnist(name: str, size: int | None, group: str) -> Source:
    import medmnist

    info = medmnist.INFO[name]
    # MedMNIST+ publishes these sizes from the original scans; any other is rescaled from 28 as in the papers.
    native = size if size in (64, 128, 224) else 28
    kind = getattr(medmnist, info["python_class"])
    part = _fetch(name, group, lambda root: kind(split="train", download=True, root=str(root), size=native))
    names = [info["label"][str(label)] for label in range(len(info["label"]))]
    return _npz(Path(part.root, f"{part.flag}{part.size_flag}.npz"), name, f"{group}.name={name!r}", names)


def _parquet(path: Path, label: str) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        check_columns(schema, label)
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    for column in COLUMNS:
        empty = table[column].null_count
        if empty:
            raise ValueError(f"{label}: column {column} has {empty} empty rows; fill or drop them")
    pictures, labels = table["image"].to_pylist(), table["label"].to_numpy()
    where = np.array(table["split"].to_pylist(), dtype=object)
    unknown = sorted({str(split) for split in where} - set(SPLITS))
    if unknown:
        raise ValueError(f"{label}: column split holds {unknown[0]!r}; it must be one of {', '.join(SPLITS)}")
    splits = {}
    for split in SPLITS:
        rows = np.flatnonzero(where == split)
        splits[split] = Split([pictures[row] for row in rows], labels[rows], [f"row {row}" for row in rows])
    naming = "a list \"classes\" in the JSON object of the schema metadata 'dataset'"
    names = metadata_names(schema, label)
    return Source(path.stem, label, names, splits, naming, released=_is_release(schema))


def _is_release(schema: Any) -> bool:
    """Whether the schema's metadata are those that raysyn writes into synthetic.parquet (`release.parquet_bytes`)."""
    about = json.loads((schema.metadata or {}).get(b"dataset", b"{}"))
    return {"name", "classes", "image_shape", "encoding"} <= about.keys()


def check_columns(schema: Any, label: str) -> None:
    from pyarrow import types

    missing = [column for column in COLUMNS if column not in schema.names]
    if missing:
        raise ValueError(f"{label} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    image, number = schema.field("image").type, schema.field("label").type
    if not (types.is_binary(image) or types.is_large_binary(image)):
        raise ValueError(f"{label}: column image is {image}; it must hold PNG or JPEG files (binary)")
    if not types.is_integer(number):
        raise ValueError(f"{label}: column label is {number}; it must hold class numbers (integer)")


def metadata_names(schema: Any, label: str) -> list[str] | None:
    """Class names from the schema metadata: key `dataset`, a JSON object with a list `classes`."""
    raw = (schema.metadata or {}).get(b"dataset", b"{}")
    try:
        names = json.loads(raw).get("classes")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{label}: schema metadata 'dataset' is no JSON object; mend or remove it") from error
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{label}: 'classes' in the schema metadata is no list of names; mend or remove it")
    return names


def _npz(path: Path, name: str, label: str, class_names: Sequence[str] | None) -> Source:
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{label} cannot be read as .npz of plain arrays ({error})") from error
    present = [split for split in SPLITS if split == "train" or {f"{split}_images", f"{split}_labels"} & set(arrays)]
    for key in (f"{split}_{part}" for split in present for part in ("images", "labels")):
        if key not in arrays:
            raise ValueError(f"{label} lacks the array {key}; each split needs its images and labels")
    found = {split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in present}
    if class_names is None and "class_names" in arrays:
        class_names = _array_names(arrays["class_names"], label)
    source = _from_arrays(name, label, found, class_names)
    return source if "test" in present else replace(source, lacks="lacks the arrays test_images and test_labels")


def _array_names(names: np.ndarray, label: str) -> list[str]:
    """Class names from an array of the file, a name per class."""
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{label}: class_names is {names.dtype} of shape {names.shape}; give one string per class")
    return [str(name) for name in names]


def _from_arrays(
    name: str, label: str, arrays: dict[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str] | None
) -> Source:
    splits = {}
    for split, (images, labels) in arrays.items():
        where = f"{label}: {split}"
        pixels = images[..., None] if images.ndim == 3 else images
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(
                f"{where} images are {images.dtype} of shape {images.shape}; "
                "they must be uint8 (N, H, W) or (N, H, W, 1 or 3)"
            )
        if labels.ndim == 2 and labels.shape[1] > 1:
            raise ValueError(f"{where} has {labels.shape[1]} labels per image; give one each")
        if labels.size != len(pixels):
            raise ValueError(f"{where} has {len(pixels)} images but {labels.size} labels; give one each")
        splits[split] = Split(pixels, labels.reshape(-1), f"{split} image {{}}".format)
    return Source(name, label, class_names, splits, "an array class_names, a string per class")


def _folder(path: Path, label: str) -> Source:
    """A folder with train/ and what else there is of the splits; or with class folders, all of them for training."""
    if not (path / "train").is_dir():
        _refuse_other_names(path, label)
        roots = {"train": path}
        lacks = "has no folders train/ and test/"
    else:
        roots = {split: path / split for split in SPLITS if (path / split).is_dir()}
        lacks = "has no folder test/" if "test" not in roots else "has no test images"
    class_names = [folder.name for folder in _visible(roots["train"]) if folder.is_dir()]
    splits = {}
    for split, root in roots.items():
        files, labels = _class_folders(root, class_names, label)
        splits[split] = Split(files, labels, [f"file {file.relative_to(path)}" for file in files])
    return Source(path.resolve().name, label, class_names, splits, lacks=lacks)


def _refuse_other_names(path: Path, label: str) -> None:
    """ValueError where a folder without train/ has the splits under other names: these are no classes."""
    named = [entry.name for entry in _visible(path) if entry.is_dir() and entry.name.lower() in OTHER_NAMES]
    if named:
        raise ValueError(
            f"{label} has {', '.join(f'{name}/' for name in named)} but no folder train/: its splits must be called "
            "train/ and test/ (and val/), rename them"
        )


def _class_folders(folder: Path, class_names: list[str], label: str) -> tuple[list[Path], np.ndarray]:
    """Files and class numbers of one split, in sorted order."""
    files: list[Path] = []
    labels: list[int] = []
    for entry in _visible(folder):
        if not entry.is_dir():
            raise ValueError(f"{label}: {folder.name}/{entry.name} is in no class folder; move or remove it")
        if entry.name not in class_names:
            raise ValueError(
                f"{label}: class {entry.name!r} of {folder.name}/ is not in train/; add it there, if only empty"
            )
        inside = [file for file in sorted(entry.rglob("[!.]*")) if file.is_file()]
        files += inside
        labels += [class_names.index(entry.name)] * len(inside)
    return files, np.array(labels, dtype=np.int64)


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
