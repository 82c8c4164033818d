"""The same files, read as private and as public images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from raysyn.data.images import DataConfig, Images, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

Read = Callable[..., Images]


def folder(path: Path, *files: bytes, ending: str) -> Path:
    """A set of one class, with these files in train/ and in test/."""
    for split in ("train", "test"):
        for number, one in enumerate(files):
            there = path / "set" / split / "a" / f"{number}{ending}"
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(one)
    return path / "set"


def privately(path: Path, **more: Any) -> Images:
    return load(DataConfig(path=str(path), **more)).train


def publicly(shape: tuple[int, int, int]) -> Read:
    """For private images of this shape."""
    return partial(_publicly, shape)


def _publicly(shape: tuple[int, int, int], path: Path, **more: Any) -> Images:
    return load_public(PublicConfig(path=(str(path),), **more), shape).train


def both(public: Read) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("read", [privately, public], ids=["privately", "publicly"])
