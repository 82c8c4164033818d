"""What `raysyn verify` reads inside of the files that the certificate names: the images, the card, the layouts."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from raysyn.data.names import check_class_names, check_name
from raysyn.report.card import CARD, IMAGES, Described, card, described
from raysyn.report.croissant import CROISSANT, croissant
from raysyn.report.earlier import is_made
from raysyn.report.layouts import MANIFEST, hashes_of, laid_out
from raysyn.report.release import others_likelier
from raysyn.report.release_config import ReleaseConfig
from raysyn.runs import may_leave
from raysyn.runs.may_leave import FOLDERS, NETWORK_WEIGHTS

MOST_NAMED = 5
ONE_WORD = 1_000
"""Bytes of a column whose rows all say the same word, in one group of rows."""
NO_SOFT_LABELS = "it has soft labels that are not a number for each class"
END = b"\0\0\0\0IEND\xae\x42\x60\x82"
"""Of every PNG file."""


class Check(NamedTuple):
    """One thing that a certificate says."""

    name: str
    holds: bool
    found: str


class Images(NamedTuple):
    """A synthetic.parquet, without looking at a pixel."""

    name: str
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    labels: Sequence[int]
    pictures: Sequence[bytes]
    soft: bool
    asked: bool
    """Whether a label is not the likeliest one of its soft label."""


def parsed(text: str) -> Any:
    """What a JSON file says; ValueError for what is none, for numbers that are none or endless, and for a field that is
    said twice, of which each reader would take another one."""
    try:
        return json.loads(text, parse_constant=_number, parse_float=_number, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it says {text}, which is no finite number")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it says {twice} twice")
    return found


def images_in(release: Path) -> Images:
    """What the release's images are called and which labels they have. ValueError for a file that is none of these."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(release / IMAGES) as file:
            about = parsed(file.schema_arrow.metadata[b"dataset"].decode())
            _check_packed(file, len(about["classes"]), (release / IMAGES).stat().st_size)
            table = file.read()
        height, width, channels = about["image_shape"]
        found = Images(
            about["name"], (height, width, channels), tuple(about["classes"]), table["label"].to_pylist(),
            table["image"].to_pylist(), "soft_label" in table.column_names, False,
        )  # fmt: skip
        _check(found)
        soft_NK = _check_table(found, table)
        return found._replace(asked=soft_NK is not None and others_likelier(soft_NK, found.labels))
    except Exception as error:  # a damaged file raises anything
        raise ValueError(f"{IMAGES} is no file that raysyn released ({error})") from error


def _check_packed(file: Any, classes: int, size: int) -> None:
    """ValueError, before anything is unpacked, for other columns than a release has, or such that are packed otherwise:
    a small file may else hold more than there is memory for. Of what it says of itself; a file whose pages are others
    than that is beyond this."""
    about = file.metadata
    _check_columns(file.schema_arrow)
    if about.num_rows * len(END) > size:
        raise ValueError(f"it says that it has {about.num_rows:,} images, for which it is too small")
    for group in map(about.row_group, range(about.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, ways = column.path_in_schema, {"PLAIN", "RLE"}
            if name in ("label", "split"):
                ways |= {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
            if column.compression != "UNCOMPRESSED" or not ways.issuperset(column.encodings):
                raise ValueError(f"its column {name} is packed by {column.compression}, {', '.join(column.encodings)}")
            if name == "split" and column.total_uncompressed_size > ONE_WORD:
                raise ValueError("its column split says more than one word")
            if name.startswith("soft_label") and column.num_values != group.num_rows * classes:
                raise ValueError(NO_SOFT_LABELS)


def _check_columns(schema: Any) -> None:
    """ValueError for columns, types or words beside them that no release has."""
    import pyarrow as pa

    types = {"image": pa.binary(), "label": pa.int64(), "split": pa.string()}
    if "soft_label" in schema.names:
        types["soft_label"] = pa.list_(pa.float32())
    if {field.name: field.type for field in schema} != types or any(field.metadata for field in schema):
        raise ValueError(f"it has not the columns of a release: {at_most([str(field) for field in schema])}")


def _check(images: Images) -> None:
    """ValueError for what no file of images has."""
    from PIL import Image

    if not images.labels or not all(isinstance(name, str) for name in (images.name, *images.class_names)):
        raise ValueError("it has no images, or a name that is no text")
    check_name("it", "the data set", images.name)
    check_class_names("it", images.class_names)
    known = range(len(images.class_names))
    if any(label not in known for label in images.labels):
        raise ValueError(f"it has labels beyond its {len(known)} classes")
    height, width, channels = images.shape
    if height * width > (most := Image.MAX_IMAGE_PIXELS or 0):
        raise ValueError(f"it has images of {width} x {height} pixels: no release has more than {most:,}")
    head = struct.pack(
        ">8sI4sIIBBBBB", b"\x89PNG\r\n\x1a\n", 13, b"IHDR", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0
    )
    size = height * (1 + width * channels)  # a line of pixels begins with its filter
    for picture in images.pictures:
        if not picture.startswith(head) or not of_pixels_alone(picture, size):
            raise ValueError(
                f"it has images that are no PNG files of {width} x {height} pixels in {channels} channels alone"
            )
        Image.open(io.BytesIO(picture)).load()


def of_pixels_alone(picture: bytes, size: int) -> bool:
    """Whether a PNG file has no other chunks than pixels need, whole and nothing after them, and unpacks to so many
    bytes: decoders pass over what is more."""
    at, kinds, packed = 8, list[bytes](), list[bytes]()
    while at < len(picture):
        end = at + 8 + int.from_bytes(picture[at : at + 4], "big")
        if picture[end : end + 4] != struct.pack(">I", zlib.crc32(picture[at + 4 : end])):
            return False
        kinds.append(kind := picture[at + 4 : at + 8])
        packed += [picture[at + 8 : end]] if kind == b"IDAT" else []
        at = end + 4
    if kinds != [b"IHDR", *[b"IDAT"] * (len(kinds) - 2), b"IEND"] or not picture.endswith(END):
        return False
    unpack = zlib.decompressobj()
    try:
        whole = len(unpack.decompress(b"".join(packed), size + 1)) == size
    except zlib.error:
        return False
    return whole and unpack.eof and not unpack.unused_data


def _check_table(images: Images, table: Any) -> Any:
    """Its soft labels (N, K), or None; ValueError for what no release says beside its images."""
    import numpy as np

    if table.schema.metadata != described(images.name, images.class_names, images.shape, images.soft):
        raise ValueError("its metadata say something else than its images are")
    if set(table["split"].to_pylist()) != {"train"}:
        raise ValueError("it has images that are not for training")
    if not images.soft:
        return None
    rows, many = table["soft_label"].to_pylist(), len(images.class_names)
    # NumPy speaks of its own types where there is none, or of rows of several lengths.
    whole = all(row is not None and len(row) == many and None not in row for row in rows)
    if not whole or not np.isfinite(soft := np.array(rows)).all():
        raise ValueError(NO_SOFT_LABELS)
    return soft


def as_said(signed: Mapping[str, Any], images: Images) -> Check:
    """What the certificate calls public is so: name, classes and shape are those of the images."""
    said = signed["public_facts"]
    facts = {
        "shape": (said["shape"], list(images.shape)), "classes": (said["classes"], list(images.class_names)),
        "name": (f"synthetic {said['name']}", images.name),
    }  # fmt: skip
    others = [f"{name} is {known}, not {found}" for name, (known, found) in facts.items() if known != found]
    shape = " x ".join(map(str, images.shape))
    told = f"{len(images.labels):,} of {shape}, of the classes that the certificate names"
    return Check("images", not others, "; ".join(others) or told)


def there(release: Path) -> set[Path]:
    """All that is no folder, and folders with nothing in them, whose names leave too; OSError for a folder that cannot
    be looked into."""
    found = set[Path]()

    def stop(error: OSError) -> None:
        raise error

    for folder, names, files in os.walk(release, onerror=stop):
        here = Path(folder)
        found |= {here / name for name in files} | {here / name for name in names if (here / name).is_symlink()}
        if not names and not files and here != release:
            found.add(here)
    return found


def cards(release: Path, signed: Mapping[str, Any], images: Images) -> Check:
    """Whoever reads the card alone reads the same promise: both files are written anew, and compared."""
    files = signed["files"]
    which = tuple(name for name in FOLDERS if name in _in_layouts(release)) if MANIFEST in files else ()
    try:
        there = parsed((release / CROISSANT).read_text(encoding="utf-8"))
        told = Described(
            name=images.name, count=len(images.labels), shape=images.shape, class_names=images.class_names,
            soft=images.soft, asked=images.asked, size=(release / IMAGES).stat().st_size, layouts=which,
            license=ReleaseConfig(license=there.get("license")).license, network=NETWORK_WEIGHTS in files,
            empty=len(set(images.labels)) < len(images.class_names),
        )  # fmt: skip
        again = {CARD: card(signed, told), CROISSANT: croissant(signed, told, files[IMAGES]["sha256"])}
    except (ValueError, AttributeError) as error:
        return Check("card", False, f"{CROISSANT} is damaged ({error})")
    made = {name: text.encode(errors="replace") for name, text in again.items()}
    return made_anew("card", release, made, "is what the certificate and the images give")


def made_anew(check: str, release: Path, made: Mapping[str, bytes], said: str) -> Check:
    """Whether these files are what is made anew, as it is written now or, which is told, as it was; `said` says that
    they are."""
    there = {name: (release / name).read_bytes() for name in made}
    if others := [name for name, content in made.items() if not is_made(there[name], name, content)]:
        return Check(check, False, f"{' and '.join(others)}: not {said.partition(' ')[2]}")
    before = [name for name, content in made.items() if there[name] != content]
    told = f"; as an earlier raysyn wrote it: {' and '.join(before)}" if before else ""
    return Check(check, True, f"{said}, byte by byte{told}")


def _in_layouts(release: Path) -> set[str]:
    return {name.partition("/")[0] for name in _manifest(release)}


def _manifest(release: Path) -> dict[str, str]:
    """{place: SHA-256}; ValueError where it cannot be read."""
    try:
        within = parsed((release / MANIFEST).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{MANIFEST} is damaged ({error})") from error
    if not isinstance(within, dict):
        raise ValueError(f"{MANIFEST} is damaged: it names no files")
    return within


def layouts(release: Path, images: Images) -> tuple[list[str], dict[str, str]]:
    """What of the manifest is not so, in words, and what it names: {place: SHA-256}. ValueError where it cannot be
    read."""
    within = _manifest(release)
    if more := [f"{name} may not leave" for name in within if not may_leave.is_laid_out(name)]:
        return more, within
    again = hashes_of(laid_out(images.pictures, images.labels, images.class_names, sorted(_in_layouts(release))))
    names = [name for name in {**within, **again} if within.get(name) != again.get(name)]
    return [f"{name} is not what {IMAGES} gives" for name in names], within


def at_most(wrong: Sequence[str]) -> str:
    """The first few, in words."""
    more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
    return "; ".join(wrong[:MOST_NAMED]) + more
