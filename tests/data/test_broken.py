"""Files that cannot be decoded are refused by name, or left out and counted where a user allows some."""

from __future__ import annotations

import errno
import io
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data import broken as broken_module
from raysyn.data import picture as picture_module
from raysyn.data import pixels
from raysyn.data.images import DataConfig, load, public_facts
from raysyn.data.public import load_public
from raysyn.data.reading import Reading
from raysyn.data.streams import PublicConfig
from raysyn.looking import Flags
from raysyn.methods.source_told import source_facts
from raysyn.screen.flags import assigned

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def picture(kind: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(RNG.integers(0, 256, (24, 24), dtype=np.uint8))
    (image.convert(mode) if mode else image).save(buffer, kind)
    return buffer.getvalue()


BROKEN = {
    "a truncated JPEG": (picture("JPEG")[:-300], "image file is truncated .*: bring it anew"),
    "a truncated PNG": (picture()[:-300], ": bring it anew"),
    "an empty file": (b"", "it is empty, .*: bring it anew or remove it"),
    "no image": (b"scanner 3", "no image file: .*; move or remove it"),
    "a damaged DICOM file": (
        b"\0" * 128 + b"DICM" + b"\7" * 200,
        "it is a DICOM file without a picture, or damaged: bring it anew, or remove it",
    ),
}


def folder(path: Path, bad: dict[str, bytes]) -> Path:
    for split, count in (("train", 6), ("test", 3)):
        for name in ("ant", "bee"):
            for at in range(count):
                there = path / split / name / f"{at}.img"
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(picture())
    for name, content in bad.items():
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_the_flag_that_leaves_it_out(tmp_path: Path, kind: str) -> None:
    one, words = BROKEN[kind]
    path = str(folder(tmp_path / "my set", {"train/bee/3.img": one}))
    fault = rf"file train/bee/3\.img cannot be used: .*{words}, or leave such out with --"
    counts = rf" \(raysyn look {re.escape(shlex.quote(path))} counts them\)$"
    with pytest.raises(ValueError, match=rf"^data\.path='.*': {fault}data\.skip-broken 1{counts}") as caught:
        load(DataConfig(path=path))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=rf"^public\.path='.*': {fault}public\.skip-broken 1{counts}"):
        load_public(PublicConfig(path=(path,)), (24, 24, 1))
    dataset = load(DataConfig(path=path, skip_broken=1))
    assert (len(dataset.train), len(dataset.test)) == (11, 6)
    assert "; 1 that cannot be decoded left out (file train/bee/3.img)" in dataset.told
    assert source_facts(dataset) == {"read_as": dataset.told}
    assert public_facts(DataConfig(path=path, skip_broken=1)) == (11, (24, 24, 1), 2)
    # What is left is what it would be without the file.
    (tmp_path / "my set" / "train/bee/3.img").unlink()
    assert dataset.fingerprint() == load(DataConfig(path=path)).fingerprint()


def test_the_command_that_counts_them_reads_what_the_run_reads() -> None:
    for config in (
        DataConfig(path="my set", image_column="scan", person_column="who is it"),
        DataConfig(path="my set", label_column="kinds", multi_label="combination", label_order=("no finding", "2")),
        DataConfig(path="my set", person_pattern="^(p[0-9]+)_", labels=False),
    ):
        found = re.fullmatch(r" \(raysyn look (.*) counts them\)", Reading.of(config).looked_at())
        assert found is not None
        path, *words = shlex.split(found[1])
        flags = vars(assigned(Flags(), words, "look"))
        assert path == config.path
        assert all(flags[name] == value for name, value in vars(config).items() if name in flags)


def test_more_than_are_allowed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {f"{split}/ant/{at}.img": b"" for split, at in (("train", 0), ("train", 1), ("train", 3), ("test", 2))}
    path = str(folder(tmp_path / "set", bad))
    with pytest.raises(
        ValueError, match=r"file test/ant/2\.img cannot be used: .*, or raise --data\.skip-broken above 3"
    ):
        load(DataConfig(path=path, skip_broken=3))
    dataset = load(DataConfig(path=path, skip_broken=4))
    assert (len(dataset.train), len(dataset.test)) == (9, 5)
    named = "file train/ant/0.img, file train/ant/1.img, file train/ant/3.img, ..."
    assert dataset.told.endswith(f"; 4 that cannot be decoded left out ({named})")
    with pytest.raises(ValueError, match=r", or raise --public\.skip-broken above 3 \(raysyn look \S+ counts them\)$"):
        load_public(PublicConfig(path=(path,), skip_broken=3), (24, 24, 1))
    public = load_public(PublicConfig(path=(path,), skip_broken=4), (24, 24, 1))
    assert (public.train.images_NHWC[:] == dataset.train.images_NHWC).all() and len(public.valid) == 5
    assert "4 that cannot be decoded left out" in capsys.readouterr().err


def test_what_is_whole_is_not_left_out(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "set", {"train/ant/2.img": picture(mode="RGB")}))
    with pytest.raises(ValueError, match=r"2\.img is colour but"):
        load(DataConfig(path=path, skip_broken=9, size=8))
    clear = Image.fromarray(np.dstack([np.zeros((24, 24), np.uint8)] * 2))
    clear.save(tmp_path / "set/train/ant/2.img", "PNG")
    with pytest.raises(ValueError, match=r"2\.img cannot be used: .*--data\.background white$"):
        load(DataConfig(path=path, skip_broken=9))


@pytest.mark.parametrize("fault", [PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "no"), MemoryError()])
def test_what_this_machine_cannot_read_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    path = folder(tmp_path / "set", {})
    content, failing = picture_module.content, [str(path / "train/ant/2.img")]

    def read(one: Any) -> Any:
        if str(one) in failing:
            raise fault
        return content(one)

    monkeypatch.setattr(picture_module, "content", read)
    with pytest.raises(ValueError, match=r"2\.img cannot be used: .*: mend this machine or the file's permis.*again$"):
        load(DataConfig(path=str(path), skip_broken=9))
    with pytest.raises(ValueError, match=r"2\.img cannot be used: .*: mend this machine or the file's permis.*again$"):
        load_public(PublicConfig(path=(str(path),), skip_broken=9), (24, 24, 1))
    failing.clear()
    assert len(load(DataConfig(path=str(path), skip_broken=9)).train) == 12


def test_a_split_or_class_that_is_broken_as_a_whole_is_refused(tmp_path: Path) -> None:
    path = str(folder(tmp_path / "set", {f"test/{name}/{at}.img": b"" for name in ("ant", "bee") for at in range(3)}))
    with pytest.raises(ValueError, match="has no test image that can be decoded; bring them anew"):
        load(DataConfig(path=path, skip_broken=9))
    files = [picture() if at % 3 else b"" for at in range(12)]
    table = pa.table({"image": files, "label": [int(at % 3 == 0) for at in range(12)], "split": ["train", "test"] * 6})
    pq.write_table(table, tmp_path / "set.parquet")
    with pytest.raises(ValueError, match=r"data\.skip_broken=9 leaves class 1 without a training image; lower it"):
        load(DataConfig(path=str(tmp_path / "set.parquet"), skip_broken=9))


def in_parquet(path: Path, broken: dict[str, tuple[int, ...]]) -> str:
    """Twelve images of two classes in each split, those at these places broken."""
    files = [b"" if at in broken.get(split, ()) else picture() for split in ("train", "test") for at in range(12)]
    table = pa.table({"image": files, "label": [0, 1, 1, 1] * 6, "split": ["train"] * 12 + ["test"] * 12})
    pq.write_table(table, path / "set.parquet")
    return str(path / "set.parquet")


GAPS: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any], str]] = {
    "a class": ({"train": (0, 4, 8)}, {"skip_broken": 3}, r"data\.skip_broken=3 leaves class 0 without a"),
    "by a limit": ({}, {"limit": 1, "skip_broken": 3}, r"data\.limit=1 with data\.skip_broken=3 leaves class"),
    "by a limit alone": ({}, {"limit": 1}, r"data\.limit=1 leaves class \d without a training image; raise it"),
    "a split": ({"test": (*range(12),)}, {"skip_broken": 12}, "has no test image that can be decoded"),
    "more in all": ({"train": (1,), "test": (2, 3)}, {"skip_broken": 2}, "test, row 15|row 15 cannot be used"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GAPS)
def test_what_is_told_at_the_beginning_is_refused_as_what_is_loaded(tmp_path: Path, kind: str) -> None:
    broken, more, words = GAPS[kind]
    config, said = DataConfig(path=in_parquet(tmp_path, broken), **more), []
    for read in (load, public_facts):
        with pytest.raises(ValueError, match=words) as caught:
            read(config)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(("more", "decoded"), [({}, 1), ({"skip_broken": 1}, 24), ({"skip_broken": 1, "limit": 1}, 0)])
def test_no_more_is_decoded_at_the_beginning_than_it_must_be(
    tmp_path: Path, more: dict[str, Any], decoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = set[Any](), picture_module.decode_picture

    def decode(*given: Any, **more: Any) -> Any:
        seen.add(given[0])
        return real(*given, **more)

    for module in (pixels, broken_module):
        monkeypatch.setattr(module, "decode_picture", decode)
    with suppress(ValueError):
        public_facts(DataConfig(path=in_parquet(tmp_path, {}), **more))
    assert len(seen) == decoded


def test_a_public_class_stays_where_all_its_images_are_broken(tmp_path: Path) -> None:
    """Or its name would go to no class, and the number of classes would be another."""
    files = [picture() if at % 3 else b"" for at in range(12)]
    table = pa.table({"image": files, "label": [2 * (at % 3 == 0) + at % 2 * (at % 3 > 0) for at in range(12)],
                      "split": ["train"] * 6 + ["val"] * 6})  # fmt: skip
    pq.write_table(table, tmp_path / "set.parquet")
    public = load_public(PublicConfig(path=(str(tmp_path / "set.parquet"),), skip_broken=4), (24, 24, 1))
    assert public.train.class_names == ("0", "1", "2") and set(public.train.labels_N.tolist()) == {0, 1}


def test_of_arrays_none_is_broken() -> None:
    for config in (DataConfig(skip_broken=1), DataConfig(skip_broken=-1)):
        with pytest.raises(ValueError, match=r"^data\.skip_broken is .*: give a number from 0|is for image files"):
            load(config)
    wrong: Any = PublicConfig(name=("digits",), skip_broken=-2)
    with pytest.raises(ValueError, match=r"^public\.skip_broken is -2: give a number from 0"):
        load_public(wrong, (8, 8, 1))
