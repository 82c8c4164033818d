"""Finding the files of a set where people unpack them, and saying what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def look_for(source: Path, names: Sequence[str], mend: str) -> Path:
    """The first of these that lies in `source`; ValueError, in one sentence, where none does. A name with / at its end
    is a folder."""
    for name in names:
        path = source / name
        if path.is_dir() if name.endswith("/") else path.is_file():
            return path
    raise ValueError(f"{source} has no {' and no '.join(names)}: {mend}")


def home_of(source: Path, names: Sequence[str], marks: Sequence[str]) -> Path:
    """`source`, or the folder of one of these names in it, whichever has most of the marks: what is missing is said of
    that one."""
    folders = (source, *(source / name for name in names))
    return max(folders, key=lambda folder: sum((folder / mark).exists() for mark in marks))


def folders_in(folder: Path) -> list[str]:
    """Names of the visible folders, in order."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def files_in(folder: Path) -> list[str]:
    """Names of the visible files, in order."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of every line that says something; ValueError where it is no text."""
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text: give the file as it was downloaded") from error


def wrong_line(path: Path, number: int, line: str, form: str) -> ValueError:
    """For what is no such line."""
    return ValueError(f"{path}: line {number} is {line[:60]!r}, not {form}: give the file as it was downloaded")
