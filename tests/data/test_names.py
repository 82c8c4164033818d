"""Names that a release cannot carry are refused where they are read, in a sentence that any terminal can show."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.data.names import check_class_names, check_name, in_order, legible
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta import presets as dp_feta_presets
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_imgsyn import presets as dp_imgsyn_presets
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_kernel import presets as dp_kernel_presets
from raysyn.methods.dp_mepf import pipeline as dp_mepf
from raysyn.methods.dp_mepf import presets as dp_mepf_presets
from raysyn.methods.dp_merf import pipeline as dp_merf
from raysyn.methods.dp_merf import presets as dp_merf_presets
from raysyn.methods.dp_ntk import pipeline as dp_ntk
from raysyn.methods.dp_ntk import presets as dp_ntk_presets
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.dp_prototypes import presets as dp_prototypes_presets
from raysyn.methods.evolution import pipeline as evolution
from raysyn.methods.evolution import presets as evolution_presets
from raysyn.methods.knowledge_recycling import pipeline as knowledge_recycling
from raysyn.methods.knowledge_recycling import presets as knowledge_recycling_presets
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.noisy_means import presets as noisy_means_presets
from raysyn.methods.p3gm import pipeline as p3gm
from raysyn.methods.p3gm import presets as p3gm_presets
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan import presets as pigan_presets
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage import presets as privimage_presets
from raysyn.report import rehearsal
from raysyn.report.pictures import png_bytes
from raysyn.report.rehearsal import rehearse
from raysyn.screen.console import Console

LATIN = os.fsdecode(b"kr\xe4nklich")
"""A Latin-1 name, as Linux hands it to Python."""


@pytest.mark.parametrize(
    "name",
    [
        LATIN,
        "a\ud800b",
        "ICON\n",
        "a\rb",
        "a\tb",
        "a\x00b",
        "a\x1b[31m",
        "a\u2028b",
        "",
        "  ",
        "\u202edlim",
        "a\u2066b",
        "a\u2069",
    ],
)
def test_what_cannot_be_written_is_refused_with_a_mend(name: str) -> None:
    with pytest.raises(ValueError, match=r"^here: the name of class 1, '.*', .*(rename it|give it a name)$") as caught:
        check_class_names("here", ["fine", name])
    if turns := [one for one in name if one in "\u202e\u2066\u2069"]:
        assert f"holds U+{ord(turns[0]):04X}, an invisible character that turns around" in str(caught.value)
    # Neither does the sentence hold what it complains of.
    assert str(caught.value).encode().isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["größe 良性", "<b>&", "[bold]x[", "a/b", 'it\'s "so"', "\u05d0\u200c\u200f", "0"])
def test_what_can_be_written_is_not(name: str) -> None:
    check_name("here", "the data set", name)
    check_class_names("here", [name, name + "2"])


def test_names_that_read_alike_are_one_name_twice() -> None:
    with pytest.raises(
        ValueError, match="2 classes are called 'é' \\(written 'é' and 'e\u0301'\\); rename all but one"
    ):
        check_class_names("here", ["é", "e\u0301", "x"])
    with pytest.raises(
        ValueError, match=r"2 classes are called 'cat' \(written 'cat' and 'cat '\); rename all but one"
    ):
        check_class_names("here", ["cat", "dog", "cat "])
    with pytest.raises(ValueError, match="2 classes are called 'cat'; rename all but one"):
        check_class_names("here", ["cat", "dog", "cat"])
    check_class_names("here", ["crane", "crane"], once=False)


def test_numbers_are_in_the_order_of_their_values() -> None:
    assert in_order({"10", "9", "0"}) == ["0", "9", "10"]
    assert in_order({"10", "9", "x"}) == in_order({"x", "9", "10"}) == ["10", "9", "x"]
    assert in_order({"10", "2.5", "-1", "2"}) == ["-1", "2", "2.5", "10"]
    assert in_order({"10", "09"}) == ["09", "10"] and in_order([]) == []


def test_bytes_of_a_file_name_are_shown_as_they_are() -> None:
    assert legible(LATIN) == "kr\\xe4nklich" and legible("ä\ud800") == "ä\\ud800" and legible("ä") == "ä"


def zoo(root: Path, name: str, classes: tuple[str, ...]) -> Path:
    """A folder of grey images."""
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 1), dtype=np.uint8)
    for split in ("train", "test"):
        for one in classes:
            folder = root / name / split / one
            folder.mkdir(parents=True)
            for index in range(2):
                (folder / f"{index}.png").write_bytes(png_bytes(pixels))
    return root / name


@pytest.mark.parametrize(
    ("name", "classes", "says"),
    [
        ("zoo", ("cat", LATIN), r"the name of class 1, 'kr\\xe4nklich', is not UTF-8"),
        ("zoo", ("cat", "dog\nICON"), r"the name of class 1, 'dog\\nICON', holds a line break"),
        (LATIN, ("cat", "dog"), r"the name of the data set, 'kr\\xe4nklich', is not UTF-8"),
    ],
)
def test_folders_are_judged_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, classes: tuple[str, ...], says: str
) -> None:
    path = zoo(tmp_path, name, classes)
    with pytest.raises(ValueError, match=says):
        load(DataConfig(path=str(path)))
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=says.replace("the data set", "the public set")):
        load_public(PublicConfig(path=(str(path),)), (8, 8, 1))


def test_file_names_and_folders_above_may_be_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not released."""
    path = zoo(tmp_path / LATIN, "zoo", ("cat", "dog"))
    (path / "train" / "cat" / "0.png").rename(path / "train" / "cat" / f"{LATIN}\n.png")
    assert len(load(DataConfig(path=str(path))).train) == 4
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    # One of fifty would be held out, were there no test images.
    assert len(load_public(PublicConfig(path=(str(path),)), (8, 8, 1)).train) == 4


@pytest.mark.parametrize(("name", "classes"), [("set", ("a", "b\nc")), ("set", ("a", LATIN)), (LATIN, ("a", "b"))])
def test_the_rehearsal_finds_names_that_no_reader_has_looked_at(name: str, classes: tuple[str, ...]) -> None:
    images = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2, classes)
    with pytest.raises(ValueError, match="rename it"):
        rehearse("m", Dataset(name, images, images, None))


@pytest.mark.parametrize(
    ("shape", "classes"),
    [((8, 200, 3), 300), ((9, 13, 1), 300), pytest.param((512, 512, 3), 50, marks=pytest.mark.slow)],
)
def test_the_rehearsal_makes_whatever_will_be_made(shape: tuple[int, int, int], classes: int) -> None:
    names = tuple(f"größe 良性 {label}" for label in range(classes))
    images = Images(np.zeros((4, *shape), np.uint8), np.arange(4), names)
    rehearse("m", Dataset("<set> 'ß'", images, images, None), soft_labels=True)


def test_a_writer_that_fails_fails_in_the_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2, ("a", "b"))
    for writer in ("release.parquet_bytes", "release.sample_sheet", "rehearsal.render", "rehearsal.certificate"):
        with monkeypatch.context() as patch:
            patch.setattr(f"raysyn.report.{writer}", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                rehearse("m", Dataset("set", images, images, None))


def test_the_console_shows_a_path_that_is_no_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    Console().say(f"Release: {LATIN}/release")
    assert "kr\\udce4nklich/release" in capsys.readouterr().out


def of_public(config: Any) -> Any:
    """Classes may have any name where candidates are public images."""
    return replace(config, source=replace(config.source, kind="public"))


PRESETS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "noisy_means": (noisy_means.prepare, noisy_means_presets.PRESETS["quick"]),
    "evolution": (evolution.prepare, of_public(evolution_presets.PRESETS["quick"])),
    "dp_merf": (dp_merf.prepare, dp_merf_presets.PRESETS["quick"]),
    "dp_ntk": (dp_ntk.prepare, dp_ntk_presets.PRESETS["quick"]),
    "dp_mepf": (dp_mepf.prepare, dp_mepf_presets.PRESETS["quick"]),
    "dp_kernel": (dp_kernel.prepare, dp_kernel_presets.PRESETS["quick"]),
    "p3gm": (p3gm.prepare, p3gm_presets.PRESETS["quick"]),
    "dp_feta": (dp_feta.prepare, dp_feta_presets.PRESETS["quick"]),
    "privimage": (privimage.prepare, privimage_presets.PRESETS["quick"]),
    "dp_imgsyn": (dp_imgsyn.prepare, dp_imgsyn_presets.PRESETS["quick"]),
    "dp_prototypes": (dp_prototypes.prepare, dp_prototypes_presets.PRESETS["quick"]),
    "knowledge_recycling": (knowledge_recycling.prepare, knowledge_recycling_presets.PRESETS["quick"]),
    "pigan": (pigan.prepare, pigan_presets.PRESETS["quick"]),
}


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Images of two classes, and a cache of its own."""
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 3000), ("test", 60)):
        arrays |= {f"{split}_images": rng.integers(0, 256, (count, 16, 16), dtype=np.uint8)}
        arrays |= {f"{split}_labels": np.arange(count) % 2}
    np.savez(tmp_path / "few.npz", **arrays)
    return DataConfig(path=str(tmp_path / "few.npz"))


@pytest.mark.parametrize("method", PRESETS)
@pytest.mark.parametrize("field", ["tuned_on", "chosen_among"])
@pytest.mark.parametrize("text", [f"sets of {LATIN}", "9 runs\nof mine", " "])
def test_what_the_certificate_will_repeat_is_read_before_anything_is_spent(
    method: str, field: str, text: str, few: DataConfig
) -> None:
    prepare, preset = PRESETS[method]
    config = replace(preset, **{"data": few, field: text})
    with pytest.raises(
        ValueError, match=rf"^{field} is '.*', which .*; write it otherwise, or leave it out$"
    ) as caught:
        prepare(config)
    assert str(caught.value).encode().isascii() and str(caught.value).isprintable()


@pytest.mark.parametrize("name", [f"{LATIN}.pt", "a\nb.pt"])
def test_the_name_of_a_network_is_read_before_anything_is_spent(name: str, few: DataConfig, tmp_path: Path) -> None:
    preset = privimage_presets.PRESETS["quick"]
    config = replace(preset, data=few, query=replace(preset.query, checkpoint=str(tmp_path / name)))
    with pytest.raises(ValueError, match=r"^query\.checkpoint: the name of the file, '.*', .*; rename it$"):
        privimage.prepare(config)


@pytest.mark.parametrize("method", ["privimage", "dp_imgsyn", "dp_prototypes"])
def test_public_sets_are_named_by_what_a_link_leads_to(method: str, few: DataConfig, tmp_path: Path) -> None:
    """As the certificate names them."""
    (tmp_path / "good").symlink_to(zoo(tmp_path, LATIN, ("cat", "dog")))
    public = PublicConfig(path=(str(tmp_path / "good"),))
    prepare, preset = PRESETS[method]
    for read in (lambda: prepare(replace(preset, data=few, public=public)), lambda: load_public(public, (16, 16, 1))):
        with pytest.raises(ValueError, match=r"the name of the public set, 'kr\\xe4nklich', is not UTF-8"):
            read()
    assert not list((tmp_path / "cache").glob("public/*"))


def test_the_rehearsal_signs_what_the_run_will_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    images, signed = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2, ("a", "b")), list[dict[str, Any]]()
    write = rehearsal.release_files
    monkeypatch.setattr(
        rehearsal, "release_files", lambda *args, **more: signed.append(args[1]) or write(*args, **more)
    )
    rehearse(
        "m", Dataset("set", images, images, None), uncharged=["x"], sets=["y"], networks={"f": "/z/w.pt", "g": None}
    )
    (terms,) = signed
    assert terms["uncharged_choices"] == ["x"] and terms["public_images"][0]["sets"] == ["y"]
    assert [one["name"] for one in terms["public_networks"]] == ["w.pt"]
    with pytest.raises(ValueError, match="utf-8"):
        rehearse("m", Dataset("set", images, images, None), uncharged=[LATIN])
