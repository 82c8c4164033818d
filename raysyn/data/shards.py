"""Parquet files that are one set: a file, or a folder with shards such as train-00000-of-00004.parquet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from raysyn.data.names import legible
from raysyn.data.source import USUAL_NAMES

ENDINGS = (".parquet", ".pq")
OF_MANY = re.compile(r"^(?P<name>.*?)-(?P<number>\d+)-of-(?P<all>\d+)$")


@dataclass(frozen=True)
class Shard:
    """One file, and the split that its name or folder says."""

    path: Path
    split: str | None


@dataclass(frozen=True)
class Shards:
    """All files of a set."""

    shards: tuple[Shard, ...]
    told: str
    left_out: str = ""


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder of shards."""
    return files_of(folder, ENDINGS)


def files_of(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder of shards, in order: its own, else those of data/, else of folders of splits; none where it
    is another kind of folder."""
    own = _in(folder, endings) or _in(folder / "data", endings)
    if own or not folder.is_dir():
        return own
    named = [one for one in sorted(folder.iterdir()) if one.name.lower() in USUAL_NAMES and one.is_dir()]
    return [file for one in named for file in _in(one, endings)]


def _in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        one for one in sorted(folder.iterdir())
        if one.suffix.lower() in endings and one.name[0] not in "._" and one.is_file()
    ]  # fmt: skip


def shards_of(path: Path, label: str) -> Shards:
    """The files of a set with the splits that their names say. A single file says none; where no file does, all are for
    training. ValueError where one of several shards is not there."""
    if path.is_file():
        return Shards((Shard(path, "train"),), "a Parquet file")
    files = parquet_files(path)
    check_all_there(files, label)
    splits = {file: split_of(file) for file in files}
    kept = [file for file in files if splits[file] is not None] or files
    out = [legible(file.name) for file in files if file not in kept]
    left_out = f"; left out: {len(out):,} of no split, such as {out[0]}" if out else ""
    shards = tuple(Shard(file, splits[file] or "train") for file in kept)
    return Shards(shards, f"{len(kept):,} Parquet file{'s' if len(kept) > 1 else ''}", left_out)


def split_of(file: Path) -> str | None:
    """The split that the beginning of a file's name says, or the folder that it lies in."""
    begin = re.match(r"[a-z]+", file.stem.lower())
    return USUAL_NAMES.get(begin[0] if begin else "") or USUAL_NAMES.get(file.parent.name.lower())


def check_all_there(files: list[Path], label: str) -> None:
    """ValueError where one of several numbered files (-00000-of-00004) is not there."""
    there: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if (found := OF_MANY.match(file.stem)) is not None:
            there.setdefault((found["name"], int(found["all"])), set()).add(int(found["number"]))
    for (name, count), numbers in there.items():
        if missing := sorted(set(range(count)) - numbers):
            first = f"{name}-{missing[0]:05d}-of-{count:05d}"
            raise ValueError(f"{label} has {len(numbers)} of {count} files of {name}, and not {first}; bring them all")
