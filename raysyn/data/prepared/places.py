"""Places365 (Zhou et al., 2017), the standard division in small images (256 x 256)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from raysyn.data.prepared.finding import lines_of, look_for, wrong_line
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture


def places365(source: Path) -> Found:
    """Classes as categories_places365.txt has them, without their first letter; parts train and val."""
    mend = "unpack filelist_places365-standard.tar there"
    lists = {
        "train": look_for(source, ("places365_train_standard.txt",), mend),
        "val": look_for(source, ("places365_val.txt",), mend),
    }
    names = _names(look_for(source, ("categories_places365.txt",), mend))
    folders = {
        "train": look_for(source, ("data_256/", "data_256_standard/"), "unpack train_256_places365standard.tar there"),
        "val": look_for(source, ("val_256/",), "unpack val_256.tar there"),
    }

    def pictures() -> Iterator[Picture]:
        for part, path in lists.items():
            for name, label in _listed(path, len(names)):
                # Names of train begin with /, which would lead away from the folder.
                yield Picture(part, folders[part] / name.lstrip("/"), label, f"image {name} of {part}")

    # Read through once, so that a wrong line is known before anything is written; two million lines take seconds.
    images = Counter({part: sum(1 for _ in _listed(path, len(names))) for part, path in lists.items()})
    return Found(names, pictures, images)


def _names(path: Path) -> list[str]:
    """`/a/airfield 0` is the class airfield."""
    found: list[str] = []
    for number, line in lines_of(path):
        name, _, place = line.rpartition(" ")
        if place != str(len(found)) or name[:1] != "/" or name[2:3] != "/":
            raise wrong_line(path, number, line, f"a category and {len(found)}")
        found.append(name[3:])
    return found


def _listed(path: Path, classes: int) -> Iterator[tuple[str, int]]:
    for number, line in lines_of(path):
        name, _, label = line.rpartition(" ")
        if not name or not label.isdecimal() or int(label) >= classes:
            raise wrong_line(path, number, line, f"an image and the number of one of {classes} categories")
        yield name, int(label)
