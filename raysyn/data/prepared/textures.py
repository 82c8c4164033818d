"""Describable Textures (DTD; Cimpoi et al., 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from raysyn.data.prepared.finding import folders_in, home_of, lines_of, look_for, wrong_line
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

PARTS = ("train", "val", "test")
FOLD = 1
"""Of the ten divisions that are published."""


def textures(source: Path) -> Found:
    """47 classes; parts train, val and test of the first published division."""
    home = home_of(source, ("dtd",), ("images", "labels"))
    mend = "unpack dtd-r1.0.1.tar.gz, and give the folder that it makes"
    folder = look_for(home, ("images/",), mend)
    lists = {part: look_for(home, (f"labels/{part}{FOLD}.txt",), mend) for part in PARTS}
    names = folders_in(folder)
    numbers = {name: number for number, name in enumerate(names)}
    listed: dict[str, list[str]] = {}
    for part, path in lists.items():
        for number, line in lines_of(path):
            if line.partition("/")[0] not in numbers:
                raise wrong_line(path, number, line, "an image of a class of images/")
            listed.setdefault(part, []).append(line)

    def pictures() -> Iterator[Picture]:
        for part, files in listed.items():
            for name in files:
                yield Picture(part, folder / name, numbers[name.partition("/")[0]], f"image {name}")

    return Found(names, pictures, {part: len(files) for part, files in listed.items()})
