"""How a picture that is not plain becomes 8-bit grey or colour: what a user says of it, and what was done, counted."""

from __future__ import annotations

import errno
import math
import re
import shlex
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

import numpy as np

Colour = Literal["auto", "grey", "rgb"]
NAMED = {"white": (255, 255, 255), "black": (0, 0, 0)}
HEXADECIMAL = re.compile(r"#[0-9a-fA-F]{6}")

DICOM = "{n:,} DICOM files, of whose tags none is kept"
BURNT_IN = (
    "Text that is burnt into the pixels of DICOM files is not looked for, and stays in the images: the sheet of raysyn "
    "look shows the first of each class."
)


class Unsuited(ValueError):
    """A picture is whole, but can only be read if a user says how, or not at all."""


class Broken(ValueError):
    """A picture cannot be decoded."""


NOT_OF_THE_MACHINE = (None, errno.EINVAL, errno.EOVERFLOW)
"""Of errors of the system: none, and what places in damaged files lead to."""


def of_the_machine(error: BaseException) -> TypeGuard[OSError | MemoryError]:
    """Whether a picture that could not be read may be whole: permissions, disks, memory."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in NOT_OF_THE_MACHINE)


class Notes:
    """What was done to pictures, counted; several threads may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: dict[int, Counter[str]] = {}
        self._part = 0

    def begin(self, part: object) -> None:
        """Count what follows as of this part, and forget what was counted of it before."""
        self._part = id(part)
        self._parts[self._part] = Counter()

    def add(self, sentence: str) -> None:
        """Of one more picture `sentence` is true, in which {n:,} stands for their number."""
        with self._lock:
            self._parts.setdefault(self._part, Counter())[sentence] += 1

    def counted(self) -> Counter[str]:
        """How many pictures each sentence is true of."""
        return sum(self._parts.values(), Counter[str]())


@dataclass(frozen=True)
class Reading:
    """What a user says; each field is that of `DataConfig`."""

    window: tuple[float, float] | None = None
    colour: Colour = "auto"
    background: str | None = None
    skip_broken: int = 0
    group: str = "data."
    """What the flags begin with."""
    source: str = field(default="", compare=False, repr=False)
    """The images, as raysyn look is asked of them; nothing where they are known by name or several."""
    notes: Notes = field(default_factory=Notes, compare=False, repr=False)

    @staticmethod
    def of(config: Any, group: str = "data.") -> Reading:
        """That of a configuration; ValueError, in one sentence, for what it cannot be."""
        reading = Reading(
            window=config.window, colour=getattr(config, "colour", "auto"), background=config.background,
            skip_broken=getattr(config, "skip_broken", 0) or 0, group=group, source=_asked(config),
        )  # fmt: skip
        if reading.window is not None:
            low, high = reading.window
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"{group}window is {low:g} {high:g}: give two numbers, the smaller one first, such as 0 4095"
                )
        if reading.background is not None and reading.rgb() is None:
            raise ValueError(f"{group}background is {reading.background!r}: give white, black or #rrggbb")
        if reading.skip_broken < 0:
            raise ValueError(f"{group}skip_broken is {reading.skip_broken}: give a number from 0")
        if group == "public." and config.name and not config.path:
            # All sets by name are of 8 bits; said here, before they are decoded.
            reading.check_arrays(np.zeros(0, np.uint8), f"public.name={config.name[0]!r}")
        return reading

    def rgb(self) -> tuple[int, int, int] | None:
        """The background's colour; None for a word that is none."""
        given = (self.background or "").lower()
        if HEXADECIMAL.fullmatch(given):
            return int(given[1:3], 16), int(given[3:5], 16), int(given[5:], 16)
        return NAMED.get(given)

    def flag(self, name: str) -> str:
        """A flag as it is typed."""
        return f"--{self.group}{name.replace('_', '-')}"

    def looked_at(self) -> str:
        """How a sentence on one broken image ends: what counts all of them."""
        return f" (raysyn look {self.source} counts them)" if self.source else ""

    def window_flag(self) -> str:
        """How a window is said."""
        hint = " (in its own units, of what the device or the format can hold)" if self.group else ""
        return f"{self.flag('window')} LOW HIGH{hint}"

    def given(self) -> list[tuple[str, Any]]:
        """What is not as it is by default."""
        plain = Reading()
        names = ("window", "colour", "background", "skip_broken")
        return [(name, getattr(self, name)) for name in names if getattr(self, name) != getattr(plain, name)]

    def note(self, sentence: str) -> None:
        self.notes.add(sentence)

    def told(self) -> str:
        """What was done to the pictures that were decoded."""
        return "; ".join(sentence.format(n=n) for sentence, n in sorted(self.notes.counted().items()))

    def warned(self) -> tuple[str, ...]:
        """What a user must know of them."""
        return (BURNT_IN,) if DICOM in self.notes.counted() else ()

    def check_arrays(self, pictures: Any, label: str) -> None:
        """Unsuited where images are arrays, and something is said that is for files."""
        if not isinstance(pictures, np.ndarray):
            return
        for name, value in self.given():
            if name in ("background", "skip_broken"):
                raise Unsuited(
                    f"{self.group}{name} is {value}, which is for image files, but {label} holds arrays; leave it out"
                )
            if name == "window" and pictures.dtype == np.uint8:
                raise Unsuited(
                    f"{self.group}window is {self.window_said()}, which is for more than 8 bits, but {label} has 8; "
                    "leave it out, or bring all splits to one depth"
                )

    def window_said(self) -> str:
        """The two numbers."""
        low, high = self.window or (0.0, 1.0)
        return f"{low:g} {high:g}"


def _asked(config: Any) -> str:
    """A source of files as the words of a command; nothing where there is none, or are several."""
    given = getattr(config, "path", None)
    paths = [given] if isinstance(given, str) else list(given or ())
    if len(paths) != 1:
        return ""
    words = [paths[0]]
    for name in ("image_column", "label_column", "person_column", "person_pattern", "multi_label"):
        said = getattr(config, name, None)
        words += [] if said is None else [f"--{name.replace('_', '-')}", said]
    words += [] if getattr(config, "labels", True) else ["--no-labels"]
    order = getattr(config, "label_order", ())
    return shlex.join([*words, *(["--label-order", *order] if order else [])])


PLAIN = Reading()
