"""CelebA (Liu et al., 2015): aligned faces, with a label made of their attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from raysyn.data.prepared.finding import lines_of, look_for, wrong_line
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

PARTS = ("train", "val", "test")
"""By their numbers in list_eval_partition.txt."""
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair")


def gender(source: Path) -> Found:
    """Classes female and male, by the attribute Male (DP-FETA, section 4; DP-ImgSyn, table 13)."""
    return _opened(source, ("Male",), ("female", "male"), lambda values: int(values[0]))


def faces(source: Path) -> Found:
    """One class, for PrivImage asks CelebA for no label (section 4.1; its public settings say `n_classes: null`)."""
    return _opened(source, (), ("face",), lambda _: 0)


def hair(source: Path) -> Found:
    """Classes black, blond and brown (DP-ImgSyn, table 13), of faces with one of these attributes and no other."""
    return _opened(source, HAIR, ("black", "blond", "brown"), _one_colour)


def _one_colour(values: Sequence[bool]) -> int | None:
    return values.index(True) if sum(values) == 1 else None


def _opened(
    source: Path, wanted: Sequence[str], classes: Sequence[str], label: Callable[[Sequence[bool]], int | None]
) -> Found:
    mend = "download it from the CelebA page, and give the folder that holds it"
    # The folders of the download page, or all in one, as in most copies of it.
    folder = look_for(
        source,
        ("img_align_celeba/img_align_celeba/", "img_align_celeba/", "Img/img_align_celeba/"),
        "unpack img_align_celeba.zip there",
    )
    attributes = look_for(source, _places("Anno", "list_attr_celeba"), mend)
    division = look_for(source, _places("Eval", "list_eval_partition"), mend)
    parts = dict(_partition(division))
    kept: list[tuple[str, str, int]] = []
    listed: Counter[str] = Counter()
    for name, values in _attributes(attributes, wanted):
        if name not in parts:
            raise ValueError(
                f"{division} does not list {name}, which {attributes.name} does: give files of one release"
            )
        listed[parts[name]] += 1
        if (number := label(values)) is not None:
            kept.append((name, parts[name], number))
    left_out = sum(listed.values()) - len(kept)
    said = [f"{left_out:,} images with none or several of {', '.join(wanted)} are left out."] if left_out else []
    images = Counter(part for _, part, _ in kept)
    return Found(classes, partial(_pictures, folder, kept), images, listed if left_out else {}, said)


def _places(folder: str, name: str) -> tuple[str, ...]:
    # Kaggle's copy has .csv files.
    return f"{name}.txt", f"{folder}/{name}.txt", f"{name}.csv"


def _pictures(folder: Path, kept: Sequence[tuple[str, str, int]]) -> Iterator[Picture]:
    for name, part, number in kept:
        yield Picture(part, folder / name, number, f"image {name}")


def _rows(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """(line number, line, fields) of either kind of file."""
    comma = path.suffix == ".csv"
    for number, line in lines_of(path):
        yield number, line, line.split(",") if comma else line.split()


def _partition(path: Path) -> Iterator[tuple[str, str]]:
    """(name, part) of every image."""
    for number, line, fields in _rows(path):
        if path.suffix == ".csv" and number == 1:
            continue
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise wrong_line(path, number, line, "an image and 0, 1 or 2")
        yield fields[0], PARTS[int(fields[1])]


def _attributes(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, list[bool]]]:
    """(name, has it each of these) of every image. Before them the text file has their number, then names."""
    columns: list[int] | None = None
    for number, line, fields in _rows(path):
        if columns is None:
            if path.suffix != ".csv" and number == 1:
                continue
            missing = [name for name in wanted if name not in fields]
            if missing:
                raise wrong_line(path, number, line, f"names of attributes with {missing[0]} among them")
            # A row begins with the image, and in the text file the names have no column for it.
            columns = [fields.index(name) + (path.suffix != ".csv") for name in wanted]
            width = len(fields) + (path.suffix != ".csv")
            continue
        if len(fields) != width or any(fields[column] not in ("1", "-1") for column in columns):
            raise wrong_line(path, number, line, "an image and 1 or -1 for each attribute")
        yield fields[0], [fields[column] == "1" for column in columns]
