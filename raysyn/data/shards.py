"""Files that are one set: a Parquet file, or a folder with shards such as train-00000-of-00004.parquet or .tar."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from raysyn.data.listing import below, entries_of, is_beside, listed, refuse_dead
from raysyn.data.names import legible
from raysyn.data.source import USUAL_NAMES
from raysyn.data.written import written_again

ENDINGS = (".parquet", ".pq")
OF_MANY = re.compile(r"^(?P<name>.*?)-(?P<number>\d+)-of-(?P<all>\d+)(?:[-._].*)?$", re.IGNORECASE)
"""Also before a hash (train-00000-of-00004-1b2c...) or another ending (.snappy)."""
BETWEEN = re.compile(r"[-._\s\d/]+")
"""What words are bounded by in the names of files."""
HASH = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![^\W_])(?=[a-f]*\d)[0-9a-f]{8,}(?![^\W_])")


RELEASED = "synthetic.parquet"
LAID_OUT = ("folder", "webdataset")
"""In a release of raysyn, what holds the images of that file once more."""


class Kind(NamedTuple):
    """What files of a set are looked for."""

    name: str
    endings: tuple[str, ...]


PARQUET = Kind("Parquet", ENDINGS)


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
    by_names: bool
    """Whether the names of files say the splits."""
    left: tuple[str, ...] = ()
    """What was left out, counted."""

    @property
    def left_out(self) -> str:
        """The same as the end of a sentence."""
        return f"; left out: {listed(list(self.left))}" if self.left else ""


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder of shards."""
    return files_of(folder, ENDINGS)


def files_of(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a folder of shards, in order: its own, else those of data/, else of folders of splits; none where it
    is another kind of folder. Links to what is not there are among them."""
    own = _in(folder, endings) or _in(folder / "data", endings)
    return own or [file for one in _folders_of_splits(folder) for file in _in(one, endings)]


def _folders_of_splits(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as inside:
            named = [one.name for one in inside if one.name.lower() in USUAL_NAMES and one.is_dir()]
    except OSError:  # it is no folder, or is refused by who walks it
        return []
    return [folder / name for name in sorted(named)]


def _in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    try:
        with os.scandir(folder) as inside:
            # By the ending first: of a folder of a million images, nothing else is asked.
            named = [one.name for one in inside if _ends(one, endings) and (one.is_file() or not os.path.exists(one))]
    except OSError:
        return []
    return [folder / name for name in sorted(named)]


def _ends(entry: os.DirEntry[str], endings: tuple[str, ...]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in endings and entry.name[0] not in "._"


def shards_of(path: Path, label: str, has_splits: Callable[[Path], bool], kind: Kind = PARQUET) -> Shards:
    """The files of a set with the splits that their names say, all of them where one that a name says is for a split
    `has_splits` by itself. A single file says none; where no file does, all are for training. ValueError where one of
    several shards is not there, or files seem to be of several sets."""
    if path.is_file():
        return Shards((Shard(path, "train"),), f"a {kind.name} file", False)
    files = files_of(path, kind.endings)
    if dead := [str(file) for file in files if not file.exists()]:
        refuse_dead(dead, str(path), label)
    aside = Counter(_others(path, files, label, kind))
    found = of_names(path, files, label, has_splits, kind)
    return replace(found, left=(*found.left, *(f"{count:,} {what}" for what, count in sorted(aside.items()))))


def of_names(
    folder: Path,
    files: list[Path],
    label: str,
    has_splits: Callable[[Path], bool],
    kind: Kind = PARQUET,
    whole: bool = True,
) -> Shards:
    """The same of files that are known, in `folder` or below; if not `whole`, they may be some of a set."""
    if whole:
        check_all_there(files, label, folder)
    splits = {file: split_of(file, folder) for file in files}
    kept = [file for file in files if splits[file] is not None] or files
    if len(kept) < len(files) and has_splits(kept[0]):
        kept = files
    _check_one_set(folder, kept, label, kind)
    out = [legible(file.name) for file in files if splits[file] is None] if len(kept) < len(files) else []
    left = (f"{len(out):,} of no split, such as {out[0]}",) if out else ()
    shards = tuple(Shard(file, splits[file] or "train") for file in kept)
    told = f"{len(kept):,} {kind.name} file{'s' if len(kept) > 1 else ''}"
    return Shards(shards, told, any(splits.values()), left)


def split_of(file: Path, folder: Path | None = None) -> str | None:
    """The split that the last such word says in the name of a file, or of the folders that lead to it in `folder`."""
    found = _words(_named(file, folder))
    return next((USUAL_NAMES[word] for word in reversed(found) if word in USUAL_NAMES), None)


def _named(file: Path, folder: Path | None) -> str:
    return file.relative_to(folder or file.parent).with_suffix("").as_posix()


def _words(name: str) -> list[str]:
    return [word for word in BETWEEN.split(name.lower()) if word]


def check_all_there(files: list[Path], label: str, folder: Path | None = None) -> None:
    """ValueError where one of several numbered files (-00000-of-00004) is not there, or there from two exports; each
    folder that `folder` holds has numbers of its own."""
    there: dict[str, dict[int, dict[int, str]]] = {}
    for file in files:
        if (found := OF_MANY.match(_named(file, folder))) is not None:
            numbers = there.setdefault(found["name"].lower(), {}).setdefault(int(found["all"]), {})
            before = numbers.setdefault(int(found["number"]), file.name)
            if before != file.name:
                raise ValueError(_twice(label, before, file.name))
    for name, counts in there.items():
        if len(counts) > 1:
            raise ValueError(_twice(label, *(min(numbers.values()) for numbers in [*counts.values()][:2])))
        for count, numbers in counts.items():
            # The first, not all of them: a name may say any count.
            missing = next((number for number in range(count) if number not in numbers), None)
            if missing is not None:
                first = f"{name}-{missing:05d}-of-{count:05d}"
                raise ValueError(
                    f"{label} has {len(numbers)} of {count} files of {legible(name)}, and not {legible(first)}; bring "
                    "them all"
                )


def _twice(label: str, one: str, other: str) -> str:
    return (
        f"{label} has {legible(one)} and {legible(other)}, as two exports of one split leave them; move one export "
        "elsewhere"
    )


def _check_one_set(folder: Path, files: list[Path], label: str, kind: Kind) -> None:
    """ValueError where the names of files begin in words of their own, before those of splits, parts and numbers."""
    first: dict[str, Path] = {}
    for file in files:
        first.setdefault(_stem(_named(file, folder)), file)
    stems = [stem for stem in first if stem] if len(first) > 1 else []
    if len(stems) > 1 or (stems and not split_of(first[""], folder)):
        one, other = [*(first[stem] for stem in stems), *([first[""]] if "" in first else [])][:2]
        both = f"{below(str(folder), str(one))} and {below(str(folder), str(other))}"
        raise ValueError(
            f"{label} has {both}, which by their names are two sets: give one of them, or number them as parts of one "
            f"(set-0{kind.endings[0]}, set-1{kind.endings[0]})"
        )


def _stem(name: str) -> str:
    """The words before that of a split, without those of folders, hashes and single letters, which count parts."""
    numbered = OF_MANY.match(name)
    words = _words(HASH.sub(" ", (numbered["name"] if numbered else name).lower()))
    if last := [at for at, word in enumerate(words) if word in USUAL_NAMES]:
        words = words[: last[-1]]
    return " ".join(word for word in words if len(word) > 1 and word not in USUAL_NAMES and word != "data")


def _others(folder: Path, files: list[Path], label: str, kind: Kind) -> Iterator[str]:
    """What else is in the folder, by kind; ValueError where it is of a split."""
    splits: dict[str, Path] = {}
    for one in _folders_of_splits(folder):
        split = USUAL_NAMES[one.name.lower()]
        if split in splits:
            raise ValueError(
                f"{label} has {splits[split].name}/ and {one.name}/, both for {split}; move one of them elsewhere"
            )
        splits[split] = one
    # As the walk spells them: of the folder "." it says ./a.parquet, and a Path says a.parquet.
    read = {os.path.join(str(folder), str(file.relative_to(folder))) for file in files}
    again = {os.path.join(str(folder), name) for name in written_again(folder)}
    for entry in _walk(str(folder), str(folder), label, ()):
        if entry is None or entry.name.startswith("_"):  # as Spark names what it writes beside
            yield "hidden"
        elif entry.path in again:
            yield "of the same images in other layouts"
        elif entry.path not in read and (_ends(entry, kind.endings) or not is_beside(entry)):
            place = below(str(folder), entry.path)
            if folder / RELEASED in files and Path(place).parts[0] in LAID_OUT:
                yield "of the same images in other layouts"
                continue
            if any(word in USUAL_NAMES for word in Path(place.lower()).parts[:-1]):
                with_more = f"{below(str(folder), str(files[0]))}{' and more' if len(files) > 1 else ''}"
                raise ValueError(
                    f"{label}: {place} is of a split, but not where the {kind.name} files are that are read "
                    f"({with_more}); bring all into one layout, or move it elsewhere"
                )
            yield f"{kind.name} of other folders" if _ends(entry, kind.endings) else f"no {kind.name}"


def _walk(folder: str, path: str, label: str, above: tuple[str, ...]) -> Iterator[os.DirEntry[str] | None]:
    """Every file, at any depth; None for each that is hidden. `above` are the real folders that lead here."""
    here = os.path.realpath(folder)
    if here in above:
        return
    entries, hidden = entries_of(folder, path, label)
    yield from [None] * hidden
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, path, label, (*above, here))
        else:
            yield entry
