"""What is known of a data set of the papers: where it comes from, what it holds, and which presets it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raysyn.data.streams import Picture


@dataclass(frozen=True)
class Found:
    """The original files of a set, opened; no picture is decoded."""

    class_names: Sequence[str]
    pictures: Callable[[], Iterator[Picture]]
    """All of them, from the beginning; `Picture.split` is the part of the original division, as its authors call it."""
    images: Mapping[str, int] = field(default_factory=dict)
    """Of each part, where that is known before they are read."""
    listed: Mapping[str, int] = field(default_factory=dict)
    """The same with those that are left out; empty where none are."""
    said: Sequence[str] = ()
    """What was left out or done otherwise, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """Presets that a set is meant for, and how they want it."""

    method: str
    presets: str
    """A pattern of their names."""
    train: Sequence[str]
    """Parts that are trained on."""
    size: int
    public: bool = False
    """Whether it is their public set, and not the private one."""


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """One set that `raysyn prepare` knows."""

    about: str
    download: str
    """Where from, and which files."""
    licence: str
    layout: str
    """What lies in the folder that is given."""
    parts: Mapping[str, int]
    """Images of each part of the original division."""
    splits: Mapping[str, str | None]
    """Which split a part is; None where it is left out unless it is asked for."""
    train: Sequence[str] = ("train",)
    """Parts that are trained on unless others are asked for."""
    size: int
    rescaled: bool = True
    """Whether it can be had in other sizes than its files are in."""
    uses: Sequence[Use]
    open: Callable[[Path], Found]
    """Looks at the files; ValueError, in one sentence, where they are not as `layout` says."""

    def where(self, train: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """{part: its splits} where these parts are trained on. What is tested on stays so, for there is nothing else to
        test on: it is then in both. ValueError where a part is none."""
        for part in train:
            if part not in self.parts:
                raise ValueError(f"train is {part}, which is no part of this set: name some of {', '.join(self.parts)}")
        found: dict[str, tuple[str, ...]] = {}
        for part, split in self.splits.items():
            kept = split if split == "test" or part not in train else None
            found[part] = (*(["train"] if part in train else []), *([kept] if kept and kept != "train" else []))
        return found
