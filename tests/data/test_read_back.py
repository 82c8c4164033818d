"""What a release is laid out in as tar shards is read as data again, image by image."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.report import layouts

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 9, 11, 3), dtype=np.uint8)
LABELS = [at % 12 for at in range(24)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("shard", [5, 24])
def test_released_shards_are_read_as_private_and_public_images(
    tmp_path: Path, shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "SHARD", shard)
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    files = layouts.laid_out([png(one) for one in PIXELS], LABELS, [f"class {at}" for at in range(12)], ["webdataset"])
    for place, content in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(content)
    there = str(tmp_path / "webdataset")
    found = load(DataConfig(path=there, test_share=0.1))
    assert (len(found.train), len(found.test)) == (22, 2)
    known = {one.tobytes(): label for one, label in zip(PIXELS, LABELS, strict=True)}
    for part in (found.train, found.test):
        assert [known.pop(one.tobytes()) for one in part.images_NHWC] == part.labels_N.tolist()
    # By number, whole, in the order of samples.
    monkeypatch.setattr("raysyn.data.public.HELD_OUT", 24)
    public = load_public(PublicConfig(path=(there,)), (9, 11, 3))
    assert (public.train.images_NHWC[:] == PIXELS[:23]).all() and public.train.labels_N.tolist() == LABELS[:23]


@pytest.mark.parametrize(("layout", "field"), [("webdataset", "name"), ("folder", "name"), ("folder", "folder")])
def test_classes_that_were_renamed_are_not_those_that_were_decoded(
    tmp_path: Path, layout: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("raysyn.data.public.HELD_OUT", 24)
    files = layouts.laid_out([png(one) for one in PIXELS], LABELS, [f"class {at}" for at in range(12)], [layout])
    for place, content in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / place).write_bytes(content)

    def read() -> list[str]:
        train = load_public(PublicConfig(path=(str(tmp_path / layout),)), (9, 11, 3)).train
        return [f"{train.class_names[label]} {label}" for label in train.labels_N]

    before, table = read(), tmp_path / layout / "classes.json"
    rows = json.loads(table.read_text())
    rows[0][field], rows[1][field] = rows[1][field], rows[0][field]
    table.write_text(json.dumps(rows))
    assert read() != before
