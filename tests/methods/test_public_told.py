"""Which public images there are is said before anything is spent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysyn.data.images import Dataset, Images
from raysyn.data.streams import PublicConfig
from raysyn.methods.catalogue import find
from raysyn.methods.public_told import say_public
from raysyn.screen.console import Console

IMAGES = Images(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1]), ("a", "b"))


def said(config: Any, own: bool, capsys: pytest.CaptureFixture[str]) -> str:
    say_public(Console(), config, Dataset("set", IMAGES, IMAGES, None, own=own))
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("method", ["dp_imgsyn", "privimage", "dp_mepf"])
def test_built_in_letters_are_told_and_beside_own_images_warned_of(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = find(method).presets()["quick"]
    assert said(quick, False, capsys) == "Public images: glyphs (letters, built in)."
    assert said(quick, True, capsys).startswith("WARNING: the public images are built-in letters")
    other = replace(quick, public=PublicConfig(path=("/somewhere/scans.parquet", "more/")))
    assert said(other, True, capsys) == "Public images: scans.parquet, more."


def test_where_none_are_read_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(find("dp_feta").presets()["quick"], True, capsys) == ""
    assert said(replace(find("privimage").presets()["quick"], pretraining="none"), True, capsys) == ""
    letters = find("evolution").presets()["quick"]
    assert letters.source.kind == "letters" and said(letters, True, capsys) == ""
