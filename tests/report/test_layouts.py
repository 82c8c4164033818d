"""What is released is read back by what people train with: the same images, labels and names."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from report_stand_in import privacy
from torchvision.datasets import ImageFolder

from raysyn.data.images import DataConfig, Images, load
from raysyn.report.card import in_markdown, quoted
from raysyn.report.layouts import folder_names
from raysyn.report.release import certificate, packed, release_files
from raysyn.report.release_config import ReleaseConfig
from raysyn.report.report import no_dp_section
from raysyn.report.verify import verify
from raysyn.runs import may_leave

PLAIN = ("cat", "dog", "Übung mit 猫")
HOSTILE = ('a/../b "q" `x` <b>', "..", "CON", "b|😀\u200b: #", "-rf ~", "B|😀\u200b: #", "_" * 300, "yes")
THEIR_OWN = pytest.mark.filterwarnings("ignore", "ignore::pytest.PytestUnraisableExceptionWarning")
"""What other people's packages warn of is theirs to mend."""
ALL = ReleaseConfig(layout=("parquet", "folder", "webdataset"), license="cc-by-4.0")


def pictures(names: tuple[str, ...], shape: tuple[int, int, int] = (9, 11, 3), count: int = 24) -> Images:
    pixels = np.random.default_rng(1).integers(0, 256, (count, *shape), dtype=np.uint8)
    return Images(pixels, np.arange(count, dtype=np.int64) % len(names), names)


def released(
    images: Images, to: Path, soft: np.ndarray | None = None, written: ReleaseConfig = ALL, private: bool = True
) -> Path:
    """A release on disk, without a run."""
    told = privacy() if private else no_dp_section()
    terms = certificate(told, method="m", name="my *set*", n=60_000, shape=images.shape, class_names=images.class_names)
    files = release_files(images, terms, name="synthetic my *set*", soft_labels=soft, written=written)
    for name, content in files.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes(content)
    return to


@pytest.fixture(scope="module", params=[PLAIN, HOSTILE, tuple(map(str, range(12)))], ids=["plain", "hostile", "many"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Images]:
    images = pictures(request.param)
    soft = np.random.default_rng(0).dirichlet(np.ones(images.classes), len(images))
    return released(images, tmp_path_factory.mktemp("release"), soft), images


def same(found: list[Any], images: Images) -> None:
    """(image, label) pairs are these, in order."""
    np.testing.assert_array_equal([label for _, label in found], images.labels_N)
    np.testing.assert_array_equal([np.asarray(one) for one, _ in found], images.images_NHWC)


def test_pandas_reads_it(release: tuple[Path, Images]) -> None:
    there, images = release
    frame = pd.read_parquet(there / "synthetic.parquet")
    same([(Image.open(io.BytesIO(row.image)), row.label) for row in frame.itertuples()], images)


def test_torchvision_reads_the_folders_under_the_same_numbers(release: tuple[Path, Images]) -> None:
    there, images = release
    found = ImageFolder(there / "folder/train")
    by_number = sorted(range(len(found)), key=lambda at: Path(found.samples[at][0]).stem)
    same([found[at] for at in by_number], images)
    rows = json.loads((there / "folder/classes.json").read_text())
    assert [row["name"] for row in rows] == list(images.class_names)
    assert [row["folder"] for row in rows] == found.classes
    if images.class_names == PLAIN:
        assert found.classes == list(PLAIN)


def test_tar_files_hold_pairs(release: tuple[Path, Images]) -> None:
    there, images = release
    with tarfile.open(there / "webdataset/train-000000.tar") as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
        assert {(one.mtime, one.uid, one.uname) for one in tar} == {(0, 0, "")}
    keys = sorted({name.partition(".")[0] for name in files})
    assert list(files) == [f"{key}.{ending}" for key in keys for ending in ("png", "cls")]
    same([(Image.open(io.BytesIO(files[f"{key}.png"])), int(files[f"{key}.cls"])) for key in keys], images)
    rows = json.loads((there / "webdataset/classes.json").read_text())
    assert [row["name"] for row in rows] == list(images.class_names)


def test_raysyn_reads_it_as_data(release: tuple[Path, Images]) -> None:
    there, images = release
    whole = load(DataConfig(name=None, path=str(there)))
    assert whole.train.class_names == images.class_names and len(whole.train) + len(whole.test) == len(images)
    assert f" and {len(images) + 3} of the same images in other layouts" in whole.told
    known = {one.tobytes(): label for one, label in zip(images.images_NHWC, images.labels_N, strict=True)}
    for part in (whole.train, whole.test):
        assert [known[one.tobytes()] for one in part.images_NHWC] == part.labels_N.tolist()
    for layout in ("folder", "webdataset"):
        again = load(DataConfig(name=None, path=str(there / layout), test_share=0.25))
        for part in (again.train, again.test):
            assert [known[one.tobytes()] for one in part.images_NHWC] == part.labels_N.tolist()
        assert again.train.class_names == images.class_names


@THEIR_OWN
def test_hugging_face_decodes_images_and_names_classes(
    release: tuple[Path, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    there, images = release
    found = datasets.load_dataset(str(there), split="train", cache_dir=str(tmp_path))
    assert found.features["label"].names == list(images.class_names)
    same([(row["image"], row["label"]) for row in found], images)
    assert len(found[0]["soft_label"]) == images.classes


@THEIR_OWN
def test_webdataset_reads_the_tar_files(release: tuple[Path, Images]) -> None:
    webdataset = pytest.importorskip("webdataset")
    there, images = release
    found = webdataset.WebDataset(str(there / "webdataset/train-000000.tar"), shardshuffle=False)
    same(list(found.decode("pil").to_tuple("png", "cls")), images)
    del found
    gc.collect()  # it leaves its file open


@THEIR_OWN
def test_croissant_is_sound_and_its_records_are_the_images(release: tuple[Path, Images]) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    there, images = release
    found = mlcroissant.Dataset(jsonld=there / "croissant.json")
    assert not found.metadata.ctx.issues.errors
    same([(row["images/image"], row["images/label"]) for row in found.records("images")], images)
    names = [row["classes/name"] for row in found.records("classes")]
    assert [name if isinstance(name, str) else name.decode() for name in names] == list(images.class_names)


def test_the_card_s_head_is_yaml_and_its_body_holds_the_promise(release: tuple[Path, Images]) -> None:
    there, images = release
    _, head, body = (there / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["license"] == "cc-by-4.0" and told["pretty_name"] == "synthetic my *set*"
    assert "differential-privacy" in told["tags"]
    features = {one["name"]: one for one in told["dataset_info"]["features"]}
    named = features["label"]["dtype"]["class_label"]["names"]
    assert [named[str(at)] for at in range(images.classes)] == list(images.class_names)
    assert list(features) == ["image", "label", "split", "soft_label"]
    split = told["dataset_info"]["splits"][0]
    assert split == {"name": "train", "num_examples": len(images), "num_bytes": split["num_bytes"]}
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "synthetic.parquet"}]
    signed = json.loads((there / "certificate.json").read_text())
    assert signed["statement"] in body and repr(signed["epsilon"]) in body and "one image" in body
    assert "without soft labels" in body
    without = released(images, there.parent / f"{there.name} bare", written=ReleaseConfig())
    assert "license" not in yaml.safe_load((without / "README.md").read_text().split("---\n")[1])
    assert sorted(path.name for path in without.iterdir()) == [
        "README.md", "certificate.html", "certificate.json", "croissant.json", "disclosure.json", "samples.png",
        "synthetic.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize("others", [0, 1, 24])
def test_a_card_says_which_label_is_which_where_they_differ(others: int, tmp_path: Path) -> None:
    images = pictures(PLAIN)
    said = np.where(np.arange(24) < others, (images.labels_N + 1) % 3, images.labels_N)
    there = released(images, tmp_path, np.full((24, 3), 0.1) + 0.7 * np.eye(3)[said], private=False)
    told = "label is the class that was asked for, soft_label what a teacher sees" in (there / "README.md").read_text()
    assert told == (others > 0)
    assert all(check.holds for check in verify(there))


def test_the_manifest_covers_the_folders(tmp_path: Path) -> None:
    there = released(pictures(HOSTILE), tmp_path, private=False)
    assert all(check.holds for check in verify(there))
    victim = next((there / "folder/train").rglob("*.png"))
    before = victim.read_bytes()
    known = json.loads((there / "manifest.json").read_text())
    assert known[victim.relative_to(there).as_posix()] == hashlib.sha256(before).hexdigest()
    (more := victim.with_name("more.png")).write_bytes(before)
    victim.write_bytes(before + b"?")
    wrong = {check.name: check.found for check in verify(there) if not check.holds}
    victim.write_bytes(before)
    more.unlink()
    assert wrong.keys() == {"layouts", "nothing else"} and "more.png" in wrong["nothing else"]
    assert str(victim.relative_to(there)) in wrong["layouts"]


def test_a_changed_card_makes_no_strangers_of_the_images_that_are_laid_out(tmp_path: Path) -> None:
    there = released(pictures(("cat", "dog")), tmp_path, private=False)
    (there / "README.md").write_bytes(b"another")
    for strange in ("strange", "folder/patients.csv"):
        (there / strange).write_bytes(b"?")
    wrong = {check.name: check.found for check in verify(there) if not check.holds}
    assert wrong["files"] == "README.md is not the file that the certificate names"
    assert "strange" in wrong["nothing else"] and "folder/patients.csv" in wrong["nothing else"]
    assert ".png" not in wrong["nothing else"] and ".tar" not in wrong["nothing else"]


def test_a_folder_that_is_a_link_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = released(pictures(PLAIN), tmp_path / "release", private=False)
    (there / "folder").rename(tmp_path / "elsewhere")
    (there / "folder").symlink_to(tmp_path / "elsewhere")
    read = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: pytest.fail(f"{path}") if "folder" in path.parts else read(path)
    )
    wrong = {check.name: check.found for check in verify(there) if not check.holds}
    assert wrong.keys() == {"layouts", "nothing else"} and wrong["nothing else"] == "not covered: folder"
    assert "are links: put the files themselves there" in wrong["layouts"]


@pytest.mark.parametrize("label", [-1, 3, 10**9])
def test_labels_beyond_the_classes_make_no_layout(label: int, tmp_path: Path) -> None:
    there = released(pictures(PLAIN), tmp_path, private=False)
    table = pq.read_table(place := there / "synthetic.parquet")
    column = table.column_names.index("label")
    place.write_bytes(packed(table.set_column(column, "label", pa.array([label] * len(table), pa.int64()))))
    signed = json.loads((there / "certificate.json").read_text())
    signed["files"][place.name]["sha256"] = hashlib.sha256(place.read_bytes()).hexdigest()
    (there / "certificate.json").write_text(json.dumps(signed))
    wrong = {check.name: check.found for check in verify(there) if not check.holds}
    assert "labels beyond its 3 classes" in wrong["contents"] and wrong.keys() == {"contents", "pages", "nothing else"}


def test_layouts_hold_the_images_of_the_parquet_file(tmp_path: Path) -> None:
    there = released(pictures(PLAIN), tmp_path, private=False)
    one, other = sorted((there / "folder/train/cat").iterdir())[:2]
    one.write_bytes(other.read_bytes())
    known = json.loads((there / "manifest.json").read_text())
    known[one.relative_to(there).as_posix()] = known[other.relative_to(there).as_posix()]
    (there / "manifest.json").write_text(json.dumps(known))
    signed = json.loads((there / "certificate.json").read_text())
    signed["files"]["manifest.json"]["sha256"] = hashlib.sha256((there / "manifest.json").read_bytes()).hexdigest()
    (there / "certificate.json").write_text(json.dumps(signed))
    wrong = {check.name: check.found for check in verify(there) if not check.holds}
    assert wrong == {"layouts": f"{one.relative_to(there)} is not what synthetic.parquet gives"}


def test_where_a_class_has_no_image_the_card_reads_the_right_labels(tmp_path: Path) -> None:
    """Its lines about folders are run as they stand."""
    plain = pictures(PLAIN)
    images = Images(plain.images_NHWC, np.where(plain.labels_N == 0, 2, plain.labels_N), PLAIN)
    there = released(images, tmp_path, private=False)
    card = (there / "README.md").read_text().replace("FOLDER/", f"{there}/")
    begin = card.index("found = torchvision")
    code = "import json, pathlib, torchvision\n" + card[begin : card.index("webdataset.WebDataset")]
    given: dict[str, Any] = {}
    exec(code, given)
    found = given["found"]
    assert found.classes == list(PLAIN[1:])
    by_number = sorted(range(len(found)), key=lambda at: Path(found.samples[at][0]).stem)
    same([found[at] for at in by_number], images)
    assert all(check.holds for check in verify(there))
    for layout in ("folder", "webdataset"):
        again = load(DataConfig(name=None, path=str(there / layout), test_share=0.25)).train
        assert again.class_names == PLAIN and set(again.labels_N.tolist()) == {1, 2}
    assert "target_transform" not in (released(plain, tmp_path / "plain") / "README.md").read_text()


@pytest.mark.parametrize(
    "name",
    ["folder/train/../../x.png", "folder/train/cat/x.png", "folder/train/cat/a/000001.png", "folder/secret",
     "webdataset/val-000000.tar", "other/train-000000.tar", "folder/train/./000001.png"],
)  # fmt: skip
def test_only_files_of_a_layout_may_be_in_its_folder(name: str) -> None:
    assert not may_leave.is_laid_out(name)


def test_folders_have_names_that_every_system_takes() -> None:
    assert folder_names(("cat", "dog")) == ["cat", "dog"]
    assert folder_names(("dog", "cat")) == ["0_dog", "1_cat"]
    assert folder_names(tuple(map(str, range(11))))[:3] == ["00_0", "01_1", "02_2"]
    assert folder_names(("cat", "Cat")) == ["0_cat", "1_Cat"]
    for name in folder_names(HOSTILE):
        assert not set(name) & set('/\\:*?"<>|') and name.strip(" .") == name and len(name.encode()) < 128


def test_words_of_others_are_no_markup() -> None:
    name = "# <b>*x*</b> [y](z) `q` | 1."
    assert in_markdown(name) == r"\# \<b\>\*x\*\</b\> \[y\]\(z\) \`q\` \| 1\."
    for line in ("\n", "\r", "\x1b", "\x85", "\u2028"):
        assert in_markdown(f"a{line}# b").isprintable()
    for text in (
        'a "b" \\',
        "b: #\u200b😀",
        "yes",
        "012",
        "a\n---\nb: c",
        "a\r\x1b\x85\u2028b",
        "- |",
        "&a *b !c %d @e",
    ):
        assert yaml.safe_load(f"name: {quoted(text)}") == {"name": text}
