"""Test images where a source has none: always the same share, nothing lost, and one sentence where it cannot be."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.data.public import load_public
from raysyn.data.sources import subset
from raysyn.data.streams import PublicConfig
from raysyn.methods import catalogue
from raysyn.report.release import certificate, parquet_bytes, release_files
from raysyn.report.report import no_dp_section

N = 40
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(N, dtype=np.int64) % 2
NAMES = ("ant", "bee")
MADE = Images(PIXELS, LABELS, NAMES)
KINDS = ("parquet", "npz", "folder", "class folders")


def source(path: Path, kind: str, images: Images = MADE, **more: Any) -> str:
    """A source of `kind` whose images are all for training; a folder holds them class by class."""
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        (path / "raw").write_bytes(parquet_bytes(images, "set"))
        plain = pq.read_table(path / "raw").replace_schema_metadata(more or None)
        pq.write_table(pa.table(plain), path / "set.parquet")
        return str(path / "set.parquet")
    if kind == "npz":
        np.savez(path / "set.npz", train_images=images.images_NHWC, train_labels=images.labels_N, **more)
        return str(path / "set.npz")
    root = path / "zoo" / ("train" if kind == "folder" else "")
    for index, (pixels, label) in enumerate(zip(images.images_NHWC, images.labels_N, strict=True)):
        file = root / images.class_names[label] / f"{index:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return str(path / "zoo")


def release(path: Path, images: Images = MADE) -> str:
    """With its certificate beside it."""
    terms = certificate(
        no_dp_section(), method="m", name="set", n=1, shape=images.shape, class_names=images.class_names
    )
    for name, content in release_files(images, terms, name="synthetic set").items():
        (path / name).write_bytes(content)
    return str(path / "synthetic.parquet")


def fault(config: DataConfig) -> str:
    with pytest.raises(ValueError) as caught:
        load(config)
    return str(caught.value)


def pairs(*sides: Images) -> list[tuple[bytes, str]]:
    """All images with the names of their classes."""
    return sorted(
        (one.tobytes(), side.class_names[label])
        for side in sides
        for one, label in zip(side.images_NHWC, side.labels_N, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_every_kind_of_source_is_held_out_and_nothing_is_lost(tmp_path: Path, kind: str) -> None:
    found = load(DataConfig(path=source(tmp_path, kind), test_share=0.3))
    assert (len(found.train), len(found.test), found.val) == (28, 12, None)
    # Of which console and report tell.
    assert found.told.endswith("12 of its 40 images held out as test images (--data.test-share 0.3)")
    names = [NAMES[label] if "folder" in kind else str(label) for label in LABELS]
    wanted = sorted((one.tobytes(), name) for one, name in zip(PIXELS, names, strict=True))
    assert pairs(found.train, found.test) == wanted
    again = load(DataConfig(path=source(tmp_path, kind), test_share=0.3))
    assert found.fingerprint() == again.fingerprint()
    other = load(DataConfig(path=source(tmp_path, kind), test_share=0.2))
    assert other.fingerprint() != found.fingerprint()


def test_who_is_held_out_follows_from_places_alone(tmp_path: Path) -> None:
    other = Images(255 - PIXELS, 1 - LABELS, NAMES)
    for place, images in enumerate((MADE, other)):
        (folder := tmp_path / str(place)).mkdir()
        found = load(DataConfig(path=source(folder, "npz", images), test_share=0.25))
        assert (found.test.images_NHWC == images.images_NHWC[subset(N, 10)]).all()


@pytest.mark.parametrize(("share", "held"), [(0.001, 1), (0.1, 4), (0.999, N - 1)])
def test_both_sides_have_an_image_whatever_the_share(tmp_path: Path, share: float, held: int) -> None:
    # Declared, because one image is of one class.
    path = source(tmp_path, "npz", class_names=np.array(NAMES))
    found = load(DataConfig(path=path, test_share=share))
    assert (len(found.train), len(found.test)) == (N - held, held)


def test_a_limit_is_of_what_is_left_to_train(tmp_path: Path) -> None:
    path = source(tmp_path, "npz")
    assert len(load(DataConfig(path=path, test_share=0.3, limit=28)).train) == 28
    assert "data.limit=29 exceeds the 28 images" in fault(DataConfig(path=path, test_share=0.3, limit=29))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_share_a_source_without_test_images_is_refused_with_the_flag_that_mends_it(
    tmp_path: Path, kind: str
) -> None:
    sentence = fault(DataConfig(path=source(tmp_path, kind)))
    assert "test" in sentence and "--data.test-share 0.1" in sentence and "\n" not in sentence


OTHERS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "private images appended": lambda table: pa.concat_tables([table, table.slice(0, 3)]),
    "another label": lambda table: table.set_column(1, "label", pa.array([1] * len(table))),
    "other words": lambda table: table.replace_schema_metadata(
        {"dataset": json.dumps(json.loads(table.schema.metadata[b"dataset"]) | {"licence": "CC BY 4.0"})}
    ),
}


@pytest.mark.parametrize("place", ["beside the certificate", "elsewhere"])
@pytest.mark.parametrize("change", [None, *OTHERS])
def test_what_is_no_file_of_a_release_is_private_whatever_it_says(
    tmp_path: Path, place: str, change: str | None
) -> None:
    """Else no account would be kept of private images that are described by the same words, or lie among synthetic
    ones, and some be held out unasked."""
    path = Path(release(tmp_path))
    assert not load(DataConfig(path=str(path))).own
    table = pq.read_table(path)
    if place == "elsewhere":
        (tmp_path / "elsewhere").mkdir()
        path = tmp_path / "elsewhere/synthetic.parquet"
    elif change is None:
        (tmp_path / "certificate.json").write_text("{")
    if change is not None or place == "elsewhere":
        pq.write_table(OTHERS[change](table) if change else table, path)
    config = DataConfig(path=str(path))
    assert "--data.test-share 0.1" in fault(config)
    assert load(dataclasses.replace(config, test_share=0.1)).own


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(tmp_path: Path, share: float) -> None:
    assert f"data.test_share={share}" in fault(DataConfig(path=source(tmp_path, "npz"), test_share=share))


@pytest.mark.parametrize("own", ["digits", "npz"])
def test_a_share_beside_test_images_of_the_sources_own_is_refused(tmp_path: Path, own: str) -> None:
    there = DataConfig(test_share=0.1)
    if own == "npz":
        test = {"test_images": PIXELS[:3], "test_labels": LABELS[:3]}
        there = DataConfig(path=source(tmp_path, "npz", **test), test_share=0.1)
    sentence = fault(there)
    assert "data.test_share=0.1" in sentence and "leave it out" in sentence


def test_one_image_cannot_be_on_both_sides(tmp_path: Path) -> None:
    one = source(tmp_path, "npz", MADE.select(slice(1)))
    assert "1 train images" in fault(DataConfig(path=one, test_share=0.5))


def test_a_class_that_is_held_out_as_a_whole_is_declared_or_refused(tmp_path: Path) -> None:
    held = subset(N, 20)
    labels = np.zeros(N, np.int64)
    # The highest label, so that those left have no gap.
    labels[held[:2]] = 1
    images = Images(PIXELS, labels, NAMES)
    sentence = fault(DataConfig(path=source(tmp_path, "npz", images), test_share=0.5))
    assert "data.test_share=0.5 leaves class 1" in sentence and "lower it" in sentence
    sentence = fault(DataConfig(path=source(tmp_path, "npz", images), test_share=0.5, limit=10))
    assert "raise data.limit or lower data.test_share" in sentence
    declared = source(tmp_path, "npz", images, class_names=np.array(NAMES))
    assert load(DataConfig(path=declared, test_share=0.5)).empty_classes() == ("bee",)


@pytest.mark.parametrize("names", [("testing", "valid"), ("Test",), ("test", "val")])
def test_splits_without_train_are_no_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name / "ant").mkdir(parents=True)
    sentence = fault(DataConfig(path=str(tmp_path), test_share=0.1))
    assert all(f"{name}/" in sentence for name in (*names, "train")) and "rename" in sentence


def test_a_release_holds_out_a_tenth_by_itself_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = release(tmp_path)
    found = load(DataConfig(path=path))
    load(DataConfig(path=path))
    assert (len(found.train), len(found.test)) == (36, 4) and found.train.class_names == NAMES
    assert pairs(found.train, found.test) == pairs(MADE)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "4 of its 40 images" in said and "--data.test-share" in said
    assert found.told.endswith("; 4 of its 40 images held out as test images (--data.test-share 0.1)")
    asked = load(DataConfig(path=path, test_share=0.5))
    assert len(asked.test) == 20 and capsys.readouterr().err == ""
    assert load(DataConfig(path=path, test_share=0.1)).fingerprint() == found.fingerprint()


def test_as_public_images_a_release_and_a_source_without_tests_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    many = MADE.select(np.arange(100) % N)
    for path in (release(tmp_path, many), source(tmp_path, "npz", many)):
        found = load_public(PublicConfig(path=(path,)), (9, 8, 3))
        # One of fifty for validation, as with every public set that has no split for it.
        assert (len(found.train), len(found.valid)) == (98, 2)


@pytest.mark.parametrize("group", ["data", "public"])
def test_a_download_is_told_by_the_flag_that_asked_for_it(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(root: str, train: bool, download: bool) -> None:
        raise OSError("downloading failed:\nTried a mirror, got:\nno route to host\n" + "Tried another. " * 99)

    fake, package = types.ModuleType("torchvision.datasets"), types.ModuleType("torchvision")
    fake.KMNIST = offline  # type: ignore[attr-defined]
    package.datasets = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake)
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path))
    with pytest.raises(
        ValueError, match=f"{group}.name='kmnist' could not .*no route to host .*{group}.path"
    ) as caught:
        if group == "data":
            load(DataConfig(name="kmnist"))
        else:
            load_public(PublicConfig(name=("kmnist",)), (8, 8, 1))
    other = {"data": "public.", "public": "data."}[group]
    said = f"{capsys.readouterr().err}{caught.value}"
    assert f"{group}.name='kmnist': looking in" in said and other not in said and len(str(caught.value)) < 500


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("method", [one.name for one in catalogue.METHODS])
def test_every_method_takes_a_release_as_its_data(method: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (120, 8, 8, 1), dtype=np.uint8)
    path = release(tmp_path, Images(pixels, np.arange(120, dtype=np.int64) % 3, ("a", "b", "c")))
    flags = ["quick", "--data.path", path, *SMALL.get(method, ())]
    dataset = prepared(method, flags, tmp_path)
    total = len(dataset.train) + len(dataset.test)
    assert total == 120 and len(dataset.test) > 0 and dataset.train.class_names == ("a", "b", "c")


SMALL = {
    "dp_feta": ("--budget.epsilon", "100", "--finetune.batch-size", "32"),
    "privimage": ("--budget.epsilon", "100", "--finetune.batch-size", "32"),
    "dp_imgsyn": ("--budget.epsilon", "100", "--training.batch-size", "32", "--statistics.batch-size", "32"),
    "dp_kernel": ("--rounds.batch-size", "32"),
    "p3gm": ("--budget.epsilon", "100", "--finetune.batch-size", "32"),
    "pigan": ("--monte-carlo.suspects", "20", "--monte-carlo.components", "5"),
}
"""Settings that so few images can be learned with."""


def prepared(method: str, flags: list[str], out: Path) -> Dataset:
    """What the method's command would begin with."""
    from raysyn.screen import cli

    entry = catalogue.find(method)
    command = cli.parse(
        entry.presets(), [*flags, "--out", str(out / "run")], entry.summary, machines=entry.machines(), prog=method,
        seal=entry.seal,
    )  # fmt: skip
    found: Dataset = entry.method().prepare(command.config).dataset
    return found
