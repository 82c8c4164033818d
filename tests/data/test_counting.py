"""How far it is with reading images is told to who asked, and to nobody else."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysyn.data import counting
from raysyn.data.counting import told_to
from raysyn.data.images import DataConfig, load


@pytest.mark.parametrize("skip", [0, 1])
def test_every_split_is_counted_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip: int) -> None:
    monkeypatch.setattr(counting, "EVERY_S", -1.0)
    monkeypatch.setattr("raysyn.data.pixels.AT_ONCE", 300 * 64)
    monkeypatch.setattr("raysyn.data.broken.AT_ONCE", 300)
    images = {"train": 700, "test": 320}
    for split, count in images.items():
        (tmp_path / split / "ant").mkdir(parents=True)
        for at in range(count):
            buffer = io.BytesIO()
            Image.fromarray(np.full((8, 8), at % 256, np.uint8)).save(buffer, "BMP")
            (tmp_path / split / "ant" / f"{at}.bmp").write_bytes(buffer.getvalue())
    told: list[tuple[str, int, int]] = []
    with told_to(lambda *far: told.append(far)):
        load(DataConfig(path=str(tmp_path), skip_broken=skip))
    parts = [(done, total) for total in images.values() for done in (*range(300, total, 300), total)]
    what = ["broken images are looked for"] * skip + ["images are read"]
    assert told == [(one, *part) for one in what for part in parts]
    load(DataConfig(path=str(tmp_path)))
    assert len(told) == len(parts) * (1 + skip)
