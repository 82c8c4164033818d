"""A folder of images, walked in one way for private and public ones: which files are images of which class and split.

Nothing is dropped in silence: what is left out is counted by its kind, and what might be an image of the set and cannot
be reached is refused. Paths are plain strings here, since there may be millions of them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from raysyn.data.listing import NAMED, below, entries_of, first, is_beside, is_hidden, listed
from raysyn.data.manifest import names_files
from raysyn.data.named_classes import is_person
from raysyn.data.names import legible
from raysyn.data.shards import ENDINGS as PARQUET
from raysyn.data.shards import files_of
from raysyn.data.source import SPLITS, USUAL_NAMES
from raysyn.data.written import written_classes

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xls", ".xlsx")
"""Files that may hold labels."""
AT_AN_END = re.compile("^({0})|({0})$".format("|".join(sorted(USUAL_NAMES, key=len, reverse=True))))
"""A split at the beginning or end of a name in small letters."""
NO_LETTERS = re.compile(r"[\W\d_]+")
NO_IMAGE, BESIDE_SPLITS = "no image", "beside the splits"
"""Kinds of what is left out."""
AT_MOST = 3
"""Folders in a message."""
NESTED = 3
"""How deep a folder train/ is looked for where it is not there."""


@dataclass
class Layout:
    """A folder as it is understood; opened by `understood`."""

    path: str
    label: str
    splits: dict[str, str]
    """{split: name of its folder}; without any, the class folders are all for training."""
    classes: list[str]
    """Names of the folders of train/, in order, or those that a release says; a class may have no image."""
    folders: list[str] = field(default_factory=list)
    """The folder of each class, where that is not its name."""
    beside: Counter[str] = field(default_factory=Counter)
    """What lies beside the folders of splits, by kind."""
    aside: Counter[str] = field(default_factory=Counter)
    """What the last walk left out, by kind; whole once it has ended."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """The first of these, but for what is hidden."""
    by_class: bool = True
    """Whether folders are of classes; else images may lie anywhere, and all are of class 0."""

    def files(self) -> Iterator[tuple[str, os.DirEntry[str], int]]:
        """(split, file, class number) of every image, in the order of splits and paths.

        Folders within a class are walked too, through links as well. ValueError for a link that leads nowhere or back,
        a file in no class folder, or a class that train/ lacks.
        """
        self.aside, self.named[NO_IMAGE] = Counter(self.beside), []
        numbers = {name: number for number, name in enumerate(self.folders or self.classes)}
        for split in self.splits or ("train",):
            root = os.path.join(self.path, self.splits.get(split, ""))
            if not self.by_class:
                yield from ((split, file, 0) for file in self._below(root, (os.path.realpath(root),)))
                continue
            for entry in self._entries(root):
                if not entry.is_dir():
                    if not is_beside(entry):
                        raise ValueError(f"{self.label}: {self.place(entry)} is in no class folder; move or remove it")
                    self._leave(entry)
                elif entry.name not in numbers:
                    own = ", or where each folder is a person's: --data.no-labels --data.person-pattern '^([^/]+)/'"
                    persons = own if is_person(entry.name) else ""
                    raise ValueError(
                        f"{self.label}: class {entry.name!r} of {self.splits[split]}/ is not in train/; add it there, "
                        f"if only empty{persons}"
                    )
                else:
                    for file in self._within(entry, (os.path.realpath(root),)):
                        yield split, file, numbers[entry.name]

    def place(self, entry: os.DirEntry[str] | str) -> str:
        """What to call a file or folder in an error."""
        return below(self.path, os.fspath(entry))

    def told(self) -> str:
        """How the folder was understood, and what the last walk left out."""
        named = [f"{name}/" + ("" if name == split else f" (as {split})") for split, name in self.splits.items()]
        of = "class folders" if self.by_class else "images"
        layout = f"a folder with {listed(named)}, of {of}" if named else f"a folder of {of}"
        left = [
            f"{count:,} {what}{first(names, count) if (names := self.named.get(what)) else ''}"
            for what, count in sorted(self.aside.items())
        ]
        return layout + (f"; left out: {listed(left)}" if left else "")

    def _leave(self, entry: os.DirEntry[str]) -> None:
        """Count what is no image; names of the first are kept, of what may be millions."""
        self.aside[NO_IMAGE] += 1
        if len(names := self.named[NO_IMAGE]) < NAMED:
            names.append(self.place(entry))

    def _within(self, folder: os.DirEntry[str], above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
        """Images at any depth; `above` are the real folders that lead here."""
        here = os.path.realpath(folder) if folder.is_symlink() else os.path.join(above[-1], folder.name)
        if here in above:
            raise ValueError(f"{self.label}: {self.place(folder)} is a link to a folder that it lies in; remove it")
        yield from self._below(folder.path, (*above, here))

    def _below(self, folder: str, above: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
        for entry in self._entries(folder):
            if entry.is_dir():
                yield from self._within(entry, above)
            elif is_beside(entry):
                self._leave(entry)
            elif entry.is_file():
                yield entry
            else:  # whose reader would wait
                raise ValueError(f"{self.label}: {self.place(entry)} is a pipe, socket or device; remove it")

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        """What is in one folder, in order, without what is hidden; ValueError for a link that leads nowhere."""
        entries, hidden = entries_of(folder, self.path, self.label)
        if hidden:
            self.aside["hidden"] += hidden
        return entries


def understood(path: str, label: str, by_class: bool = True) -> Layout:
    """A folder with train/ and what else there is of the splits, under their usual names, each with a folder per class;
    or one of class folders, all for training. If not `by_class`, the images need no folders. ValueError, in a sentence
    that `label` opens, where it is neither."""
    layout = Layout(path, label, {}, [], by_class=by_class)
    entries = layout._entries(path)
    folders = [entry.name for entry in entries if entry.is_dir()]
    layout.splits = _splits(folders, label)
    if layout.splits:
        names = [entry.name for entry in entries if entry.name not in layout.splits.values()]
        if names:
            layout.beside[BESIDE_SPLITS] = len(names)
        layout.named[BESIDE_SPLITS] = names[:NAMED]
        layout.beside.update(layout.aside)  # what is hidden beside them
        folders = [one.name for one in layout._entries(os.path.join(path, layout.splits["train"])) if one.is_dir()]
    else:
        _refuse_other_layouts(path, label, entries, folders, by_class)
    layout.classes = folders
    told = written_classes(Path(path), "name", "folder") if layout.splits else []
    if told and {folder for _, folder in told} >= set(folders):
        layout.classes, layout.folders = [name for name, _ in told], [folder for _, folder in told]
    return layout


def _splits(folders: Sequence[str], label: str) -> dict[str, str]:
    """{split: name of its folder}, in order, and none where there is no folder of a split."""
    splits: dict[str, str] = {}
    for name in folders:
        split = USUAL_NAMES.get(name.lower())
        if split in splits:
            raise ValueError(f"{label} has {splits[split]}/ and {name}/, both for {split}; move one of them elsewhere")
        if split is not None:
            splits[split] = name
    if splits and "train" not in splits:
        has = listed([f"{name}/" for name in splits.values()])
        raise ValueError(f"{label} has {has} but no folder train/; rename the one to train with")
    return {split: splits[split] for split in SPLITS if split in splits}


def _refuse_other_layouts(
    path: str, label: str, entries: Sequence[os.DirEntry[str]], folders: Sequence[str], by_class: bool
) -> None:
    """ValueError where the splits lie deeper, labels seem to be in a file, or there are no class folders."""
    if deeper := list(islice(_with_train(path, NESTED), AT_MOST + 1)):
        have = "has" if len(deeper) == 1 else "have"
        raise ValueError(f"{label} has no folder train/, but {_some(path, deeper)} {have}: {_give(deeper)}")
    for kind, endings in (("Parquet", PARQUET), (".tar", (".tar",))):
        if inside := [there for name in folders if files_of(Path(there := os.path.join(path, name)), endings)]:
            raise ValueError(f"{label} has {kind} files in {_some(path, inside)}, and none in itself: {_give(inside)}")
    _refuse_near_splits(label, folders, by_class)
    if not by_class:
        return
    if len(folders) > 1:
        for table in entries:
            if table.is_file() and (column := names_files(table.path)):
                raise ValueError(
                    f"{label} has folders beside {legible(table.name)}, whose column {legible(column)} names files: if "
                    "that holds the labels, give it; if the folders are the classes, move it elsewhere"
                )
        return
    tables = [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in TABLES]
    if tables:
        has = f"one folder, {legible(folders[0])}/," if folders else "no folder"
        raise ValueError(
            f"{label} has {has} beside {legible(tables[0])}: if that holds the labels, give it, as a .csv file of "
            "the columns path and label; else sort the images into a folder for each class"
        )
    if not folders:
        raise ValueError(
            f"{label} has no folders in it; it needs train/ and test/ with a folder of images per class, or such class "
            "folders alone"
        )


def _some(path: str, places: Sequence[str]) -> str:
    """The first of these folders, as they lie in `path`."""
    told = [f"{legible(os.path.relpath(place, path))}/" for place in places[:AT_MOST]]
    return f"{', '.join(told)} and others" if len(places) > AT_MOST else listed(told)


def _give(places: Sequence[str]) -> str:
    several = "one of them, as in " if len(places) > 1 else ""
    return f"give {several}{places[0]!r}"


def reads(source: str, path: Path) -> bool:
    """Whether what lies at a path would be read as images of the folder `source`: within it, under no hidden name, and
    where it has a folder train/, within one of its splits. What is no such folder is for others to tell."""
    with suppress(OSError, RuntimeError, ValueError):
        root, there = Path(source).expanduser().resolve(), path.resolve()
        if not root.is_dir() or (root != there and root not in there.parents):
            return False
        within = there.relative_to(root).parts
        if any(is_hidden(part) for part in within):
            return False
        divided = any(USUAL_NAMES.get(one.name.lower()) == "train" for one in root.iterdir() if one.is_dir())
        return not divided or not within or within[0].lower() in USUAL_NAMES
    return False


def _refuse_near_splits(label: str, folders: Sequence[str], by_class: bool) -> None:
    """ValueError for folders such as train_images/ and test_images/, or 01_train/ and 02_test/, of which the second
    would be trained on: but for a split at one end, or as a word of it and numbers, they have one name. Where all
    folders are trained on, one for tests is enough."""
    seen, apart = dict[str, str](), dict[tuple[str, ...], str]()
    for name in folders:
        match, split = AT_AN_END.search(low := name.lower()), None
        if match and (rest := low[: match.start()] + low[match.end() :]):
            found = USUAL_NAMES[match.group()]
            split = found if seen.setdefault(rest, found) != found else None
        words = [word for word in NO_LETTERS.split(low) if word]
        named = {USUAL_NAMES[word] for word in words if word in USUAL_NAMES}
        if split is None and len(named) == 1:
            rest_of, (found,) = tuple(word for word in words if word not in USUAL_NAMES), named
            split = found if apart.setdefault(rest_of, found) != found else None
        if not by_class and split is None:
            split = next((one for one in ("test", "val") if one in named), None)
        if split is not None:
            raise ValueError(
                f"{label} has {legible(name)}/, which by its name is for {split}: rename the folders of splits to "
                "train/, val/ and test/, or others to a name without such a word, or put all of them into train/"
            )


def _with_train(path: str, depth: int) -> Iterator[str]:
    """Folders within that have a folder train/, as deep as `depth`; what cannot be read is for the walk to tell."""
    try:
        inside = sorted(one.path for one in os.scandir(path) if one.is_dir() and not is_hidden(one.name))
    except OSError:
        return
    if depth < NESTED and any(USUAL_NAMES.get(os.path.basename(one).lower()) == "train" for one in inside):
        yield path
    elif depth:
        for one in inside:
            yield from _with_train(one, depth - 1)
