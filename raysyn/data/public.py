"""Public images, however many: decoded once into a flat file, and read from it by number.

Once decoded, memory holds their labels and what is asked for, not the set.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from raysyn.data.images import DataConfig, Images
from raysyn.data.names import check_class_names, check_name
from raysyn.data.sources import (
    COLUMNS,
    NAMES,
    SPLITS,
    Source,
    cache_folder,
    check_columns,
    from_name,
    from_path,
    metadata_names,
    subset,
)

HELD_OUT = 50
"""Where a source has training images only, one of so many is for validation."""
ROWS_AT_ONCE = 500
READ_AT_ONCE = 2**20
"""Bytes of a column."""
ABANDONED_S = 6 * 3600.0
TELL_S = 20.0
"""Between lines about a decoding."""


@dataclass(frozen=True, kw_only=True)
class PublicConfig:
    """Which labelled public images to use, brought to the size and colours of the sensitive ones."""

    name: tuple[str, ...] = ("glyphs",)
    """glyphs (letters, built in), or names that --data.name knows. Several sets make one, whose classes are those of
    the first, then of the second and so on."""
    path: tuple[str, ...] = ()
    """Own data instead of names: Parquet files (columns image, label, split), .npz files, or folders with train/ and,
    if there is one, val/ or test/, each with one sub-folder of images per class. Parquet and folders are read as a
    stream; a .npz file, or a set by name, is held once, while it is decoded."""
    limit: int | None = None
    """Use only this many of the training images, always the same ones."""

    def sets(self) -> tuple[str, ...]:
        """Names of the sets, files or folders, without their paths, as a certificate names them."""
        return tuple(Path(one).expanduser().resolve().name for one in self.path) or self.name

    @staticmethod
    def of(entry: str) -> PublicConfig:
        """All of one set, by a name that is known or else a path."""
        return PublicConfig(name=(entry,)) if entry in NAMES else PublicConfig(path=(entry,))


@dataclass(frozen=True)
class Public:
    """Training and validation images, whose pixels stay in a file until they are asked for."""

    name: str
    train: Images
    valid: Images
    shared: int = 0
    """Sensitive images that are among them, pixel by pixel, where that was looked for."""
    sets: tuple[str, ...] = ()
    """Names of the sets they come from: public sets, files or folders, without their paths."""

    def described(self) -> dict[str, Any]:
        """What a certificate says of them: anyone who has the same images gets the same fingerprints, by
        `load_public(config, shape)` and `Images.fingerprint`."""
        return {
            "sets": list(self.sets),
            "images": len(self.train),
            "sha256": self.train.fingerprint(),
            "validation_images": len(self.valid),
            "validation_sha256": self.valid.fingerprint(),
        }


class Picture(NamedTuple):
    """One picture as a source holds it."""

    split: str
    pixels: Any
    """HWC uint8 array, bytes of an image file, or its path."""
    label: int
    place: str
    """What to call it in an error."""


class FlatPixels:
    """uint8 (N, H, W, C) in a file, indexed by numbers, a slice or a mask, like an array; what is asked for is read.

    Travels as a path: every machine that uses it must reach the file.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, path: Path, shape: tuple[int, int, int], rows_N: np.ndarray) -> None:
        self._path, self._rows_N, self.shape = path, rows_N, (len(rows_N), *shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = self._rows_N[indices]
        pixels = np.empty((rows.size, *self.shape[1:]), np.uint8)
        flat, size = rows.reshape(-1), pixels[:1].nbytes
        # Neighbours in the file are read in one go.
        starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1).tolist()
        with self._opened() as file:
            for start, end in pairwise([*starts, len(flat)]):
                file.seek(int(flat[start]) * size)
                read = file.readinto(pixels[start:end].data.cast("B"))
                assert read == size * (end - start), f"{self._path} ends early"
        return pixels.reshape(*rows.shape, *self.shape[1:])

    def view(self, indices: np.ndarray) -> FlatPixels:
        """The same file, of which only these images are seen."""
        return FlatPixels(self._path, self.shape[1:], self._rows_N[indices])

    def _opened(self) -> FileIO:
        try:
            return FileIO(self._path)
        except OSError as error:
            raise ValueError(
                f"{self._path} is not on this machine: set RAYSYN_CACHE to a folder that all machines share"
            ) from error


def view(images: Images, indices: np.ndarray, labels_N: np.ndarray, class_names: tuple[str, ...]) -> Images:
    """Some of the public images under other labels, unread."""
    pixels = cast(FlatPixels, images.images_NHWC)
    return Images(cast(np.ndarray, pixels.view(indices)), labels_N, class_names)


def load_beside(private: DataConfig, images: Images, config: PublicConfig, most_shared: float) -> Public:
    """`load_public` in the shape of the sensitive `images`.

    ValueError where these are named as public ones, or where more than the share `most_shared` of them is among these
    pixel by pixel: then they are hardly public. None are taken out: which public images are learned from would tell
    which of them are private, and no noise would hide it. What the comparison tells, `comparison` says; how many
    there are is said in a report alone, which stays inside.
    """
    own = private.name if private.path is None else str(Path(private.path).expanduser().resolve())
    sets = [str(Path(path).expanduser().resolve()) for path in config.path] or list(config.name)
    field = f"public.{'path' if config.path else 'name'}"
    if (private.path is None) != bool(config.path) and own in sets:
        raise ValueError(f"{field} names {own}, the sensitive images themselves: name images that everybody may see")
    public = load_public(config, images.shape)
    if (both := shared_pixels(images, public)) > most_shared * len(images):
        # Not how many: an error message is copied to whom a report is not shown.
        many = f"more than {100 * most_shared:g} % of the sensitive images" if most_shared else "sensitive images"
        raise ValueError(f"{field} has {many} in it, pixel by pixel: name images that everybody may see")
    return replace(public, shared=both)


def comparison(most_shared: float) -> str:
    """The choice that `load_beside` makes uncharged, as a certificate lists it."""
    how = (
        "public images were compared with the private ones, pixel by pixel in the size they are used in (another crop "
        "or compression passes, and so do images of one colour): "
    )
    if not most_shared:
        return how + "had one been among them, there would be no release, so that this one tells of none there"
    share = f"{100 * most_shared:g} %"
    return how + (
        f"had more than {share} of the private ones been among them, there would be no release; up to {share} may be "
        "there, and are learned from as public images, without noise"
    )


def in_both(public: Public) -> list[str]:
    """What a report, which stays inside, says of sensitive images among the public ones."""
    return [f"{public.shared:,} of the sensitive images are public ones too, pixel by pixel."] if public.shared else []


def shared_pixels(private: Images, public: Public) -> int:
    """How many of the sensitive images are public ones too, as they are after decoding; images of one colour apart."""
    sensitive = Counter(one.tobytes() for one in private.images_NHWC if one.min() != one.max())
    found = set[bytes]()
    for part in (public.train, public.valid):
        for at in range(0, len(part), ROWS_AT_ONCE):
            found.update(sensitive.keys() & {one.tobytes() for one in part.images_NHWC[at : at + ROWS_AT_ONCE]})
    return sum(sensitive[one] for one in found)


def load_public(config: PublicConfig, shape: tuple[int, int, int]) -> Public:
    """The public images in `shape` (H, W, C): scaled as a whole (bilinear, antialiased), grey or colour as it says.

    Decodes once into RAYSYN_CACHE and again only when the source or the shape changes. Validation images are those of
    the val split, else of the test split, else one of 50 training images; of several sets, of those that have one.
    Raises ValueError, one sentence
    with field, value and mend, for what a user can mend.
    """
    if config.limit is not None and config.limit < 1:
        raise ValueError(f"public.limit={config.limit} leaves no images; give at least 1 or leave it out")
    source = _Stream.of(config)
    for name in (source.name, *config.sets()):
        check_name(source.label, "the public set", name)
    folder = cache_folder() / "public" / hashlib.sha256(repr((source.identity, shape)).encode()).hexdigest()[:24]
    if not (folder / "facts.json").exists():
        _decode_into(folder, source, shape)
    facts = json.loads((folder / "facts.json").read_text())
    check_class_names(source.label, facts["class_names"], once=False)

    def part(split: str, chosen: Callable[[int], np.ndarray]) -> Images:
        labels = np.load(folder / f"{split}.npy")
        rows = chosen(len(labels))
        pixels = FlatPixels(folder / f"{split}.u8", shape, rows)
        return Images(cast(np.ndarray, pixels), labels[rows], tuple(facts["class_names"]))

    def wanted(n: int) -> np.ndarray:
        own = np.arange(n) if apart else np.flatnonzero(np.arange(n) % HELD_OUT != HELD_OUT - 1)
        if (config.limit or 0) > len(own):
            raise ValueError(f"public.limit={config.limit} exceeds the {len(own)} images of {source.label}; lower it")
        return own if config.limit is None else own[subset(len(own), config.limit)]

    apart = next((split for split in ("val", "test") if facts["images"][split]), None)
    valid = part(apart, np.arange) if apart else part("train", lambda n: np.arange(HELD_OUT - 1, n, HELD_OUT))
    if not len(valid):
        raise ValueError(
            f"{source.label} has {facts['images']['train']} images and none to validate a classifier with: give a val "
            f"or test split, or at least {HELD_OUT} images"
        )
    return Public(source.name, part("train", wanted), valid, sets=config.sets())


@dataclass(frozen=True)
class _Stream:
    """A source read from its beginning to its end."""

    name: str
    label: str
    identity: tuple[Any, ...]
    """Changes when its images may have."""
    opened: Callable[[], tuple[Sequence[str] | None, Iterator[Picture]]]
    """Class names, where they are known, and all pictures: asked for only where these are not decoded yet."""

    @staticmethod
    def of(config: PublicConfig) -> _Stream:
        if not config.path and not config.name:
            raise ValueError("public.name and public.path are both empty: name one public set at least")
        streams = [*map(_from_path, config.path)] if config.path else [*map(_from_name, config.name)]
        return streams[0] if len(streams) == 1 else _chained(streams)


def _from_name(name: str) -> _Stream:
    return _Stream(name, f"public set {name}", (name,), partial(_held, from_name, name, None, "public"))


def _from_path(given: str) -> _Stream:
    path = Path(given).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.suffix in (".parquet", ".pq") and path.exists():
        return _parquet(path)
    identity = _file_facts(path) if path.exists() else (given,)
    return _Stream(path.stem, f"public set {path.stem}", identity, partial(_held, from_path, given))


def _held(read: Callable[..., Source], *given: Any) -> tuple[Sequence[str] | None, Iterator[Picture]]:
    """A source that is read as a whole."""
    try:
        source = read(*given)
    except ValueError as error:
        raise ValueError(str(error).replace("data.", "public.")) from error
    return source.class_names, _of(source)


def _chained(streams: Sequence[_Stream]) -> _Stream:
    """Several sources as one: the labels of each come after those of the sources before it."""

    def opened() -> tuple[Sequence[str] | None, Iterator[Picture]]:
        parts = [stream.opened() for stream in streams]
        known = [
            f"{stream.name}: {name}" for stream, (names, _) in zip(streams, parts, strict=True) for name in names or ()
        ]
        return (known if all(names for names, _ in parts) else None), pictures(parts)

    def pictures(parts: Sequence[tuple[Sequence[str] | None, Iterator[Picture]]]) -> Iterator[Picture]:
        before = 0
        for stream, (names, found) in zip(streams, parts, strict=True):
            classes = len(names or ())
            for picture in found:
                if names is None:
                    classes = max(classes, picture.label + 1)
                elif not 0 <= picture.label < classes:
                    raise ValueError(
                        f"{stream.label}: {picture.place} has the label {picture.label}, but classes are 0 to "
                        f"{classes - 1}; mend it"
                    )
                yield picture._replace(label=before + picture.label, place=f"{stream.name}, {picture.place}")
            before += classes

    name = " and ".join(stream.name for stream in streams)
    return _Stream(name, f"public sets {name}", tuple(stream.identity for stream in streams), opened)


def _of(source: Source) -> Iterator[Picture]:
    for split, part in source.splits.items():
        for index, label in enumerate(part.labels_N.tolist()):
            yield Picture(split, part.pictures[index], label, part.place(index))


def _file_facts(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns


def _parquet(path: Path) -> _Stream:
    label = f"public.path={str(path)!r}"
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    check_columns(schema, label)

    def pictures() -> Iterator[Picture]:
        row = 0
        # By default all row groups are fetched ahead and kept.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_AT_ONCE) as file:
            for part in file.iter_batches(ROWS_AT_ONCE, columns=list(COLUMNS)):
                columns = [part.column(name).to_pylist() for name in COLUMNS]
                for image, number, split in zip(*columns, strict=True):
                    if image is None or number is None or split is None:
                        raise ValueError(f"{label}: row {row} has an empty field; fill or drop it")
                    yield Picture(split, image, number, f"row {row}")
                    row += 1

    names = metadata_names(schema, label)
    return _Stream(path.stem, label, _file_facts(path), lambda: (names, pictures()))


def _folder(path: Path) -> _Stream:
    label = f"public.path={str(path)!r}"
    if not (path / "train").is_dir():
        raise ValueError(f"{label} has no folder train/; it needs one with a sub-folder of images per class")
    splits = [split for split in ("train", "val", "test") if (path / split).is_dir()]
    names = sorted(entry.name for entry in os.scandir(path / "train") if entry.is_dir() and entry.name[0] != ".")

    def files(split: str) -> Iterator[tuple[int, os.DirEntry[str]]]:
        for number, name in enumerate(names):
            if (path / split / name).is_dir():
                entries = (one for one in os.scandir(path / split / name) if one.is_file() and one.name[0] != ".")
                yield from ((number, entry) for entry in sorted(entries, key=lambda entry: entry.name))

    def pictures() -> Iterator[Picture]:
        for split in splits:
            for number, entry in files(split):
                yield Picture(split, Path(entry.path), number, f"file {Path(entry.path).relative_to(path)}")

    digest = hashlib.sha256()
    for split in splits:
        for _, entry in files(split):
            digest.update(os.fsencode(f"{entry.path} {entry.stat().st_size} {entry.stat().st_mtime_ns}\n"))
    return _Stream(path.resolve().name, label, (str(path.resolve()), digest.hexdigest()), lambda: (names, pictures()))


def _decode_into(folder: Path, source: _Stream, shape: tuple[int, int, int]) -> None:
    """Write all splits beside `folder`, then move them there as a whole: nobody sees half a set."""
    class_names, pictures = source.opened()
    check_class_names(source.label, class_names or (), once=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    print(f"{source.label}: decoding into {folder}, once", file=sys.stderr)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        labels = _write(part, source.label, class_names, _told(pictures, source.label), shape)
        classes = max(max(found, default=0) for found in labels.values()) + 1
        names = [str(number) for number in range(classes)] if class_names is None else list(class_names)
        images = {split: len(found) for split, found in labels.items()}
        (part / "facts.json").write_text(json.dumps({"class_names": names, "images": images, "of": source.identity}))
        try:
            part.rename(folder)
        except OSError:
            # Another run was faster.
            if not (folder / "facts.json").exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left half decoded: nobody has written to it for long."""
    for part in cache.glob(".part-*"):
        with suppress(OSError):
            if time.time() - max(one.stat().st_mtime for one in (part, *part.iterdir())) > ABANDONED_S:
                shutil.rmtree(part)


def _told(pictures: Iterator[Picture], label: str) -> Iterator[Picture]:
    """The same pictures, with a line about how many there were every now and then."""
    spoken = time.monotonic()
    for count, picture in enumerate(pictures):
        if time.monotonic() - spoken > TELL_S:
            print(f"{label}: {count:,} images decoded", file=sys.stderr)
            spoken = time.monotonic()
        yield picture


def _write(
    part: Path, label: str, class_names: Sequence[str] | None, pictures: Iterator[Picture], shape: tuple[int, int, int]
) -> dict[str, array[int]]:
    """The labels of each split, once all its pixels are written."""
    labels = {split: array("q") for split in SPLITS}
    known = 2**31 if class_names is None else len(class_names)
    with ExitStack() as stack:
        files = {split: stack.enter_context((part / f"{split}.u8").open("wb")) for split in SPLITS}
        for picture in pictures:
            place = f"{label}: {picture.place}"
            if picture.split not in SPLITS:
                raise ValueError(f"{place} has the split {picture.split!r}; it must be one of {', '.join(SPLITS)}")
            if not 0 <= picture.label < known:
                raise ValueError(f"{place} has the label {picture.label}, but classes are 0 to {known - 1}; mend it")
            files[picture.split].write(_fitted(picture.pixels, shape, place).tobytes())
            labels[picture.split].append(picture.label)
    if not labels["train"]:
        raise ValueError(f"{label} has no train images; give some")
    for split, found in labels.items():
        np.save(part / f"{split}.npy", np.array(found, np.int64))
    return labels


def _fitted(picture: Any, shape: tuple[int, int, int], place: str) -> np.ndarray:
    """One picture (HWC array, bytes of a file or path) in `shape`."""
    mode, size = ("L" if shape[2] == 1 else "RGB"), (shape[1], shape[0])
    try:
        if isinstance(picture, np.ndarray):
            image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        else:
            image = Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
        with image:
            fitted = image.convert(mode)
    except Exception as error:  # decoders raise anything on damaged bytes; only here is the place known
        fault = "no image file" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(f"{place} cannot be used: {fault}") from error
    return np.asarray(fitted if fitted.size == size else fitted.resize(size, Image.Resampling.BILINEAR))


class _Joined:
    """Pixels of two sources, one after the other."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, first: Any, second: Any) -> None:
        self._parts, self._cut = (first, second), len(first)
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = np.arange(len(self))[indices]
        pixels = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
        early = rows < self._cut
        pixels[early] = self._parts[0][rows[early]]
        pixels[~early] = self._parts[1][rows[~early] - self._cut]
        return pixels


def joined(first: Images, second: Images) -> Images:
    """Both as one set under the class names of the first; neither is read."""
    pixels = cast(np.ndarray, _Joined(first.images_NHWC, second.images_NHWC))
    return Images(pixels, np.concatenate((first.labels_N, second.labels_N)), first.class_names)
