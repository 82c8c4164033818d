"""Several labels per image: a class each, by a rule that looks at that image alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn.data.images import DataConfig, load, public_facts
from raysyn.data.public import load_public
from raysyn.data.several import MOST_COMBINED, NONE, Several
from raysyn.data.streams import PublicConfig

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
ROWS = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]], np.uint8)
LISTS = [np.flatnonzero(row).tolist() for row in ROWS]
NAMES = ["oedema", "mass", "nodule"]
WORDS = [[NAMES[one] for one in row] for row in LISTS]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def npz(folder: Path, labels: Any = ROWS, **more: Any) -> str:
    both = {"train_images": PIXELS, "test_images": PIXELS, "train_labels": labels, "test_labels": labels}
    np.savez(folder / "set.npz", **both | more)
    return str(folder / "set.npz")


def parquet(folder: Path, labels: Any, metadata: dict[str, Any] | None = None) -> str:
    files = [png(pixels) for pixels in PIXELS] * 2
    table = pa.table({"image": files, "label": pa.array(labels * 2), "split": ["train"] * 6 + ["test"] * 6})
    table = table.replace_schema_metadata({name: json.dumps(value) for name, value in (metadata or {}).items()})
    pq.write_table(table, folder / "set.parquet")
    return str(folder / "set.parquet")


def csv(folder: Path) -> str:
    for number, pixels in enumerate([*PIXELS, *PIXELS]):
        (folder / f"{number}.png").write_bytes(png(pixels))
    rows = [f"{number}.png,{'|'.join(words) or 'No Finding'},train" for number, words in enumerate(WORDS)]
    rows += [f"{number}.png,{' | '.join(words) or 'No Finding'},test" for number, words in enumerate(WORDS, 6)]
    (folder / "set.csv").write_text("\n".join(["path,label,split", *rows]))
    return str(folder / "set.csv")


SOURCES = {
    "table": csv,
    "rows": lambda folder: npz(folder, class_names=NAMES),
    "numbers": lambda folder: parquet(folder, LISTS, {"dataset": {"classes": NAMES}}),
    "words": lambda folder: parquet(folder, WORDS),
    "hugging face": lambda folder: parquet(
        folder,
        LISTS,
        {
            "huggingface": {
                "info": {"features": {"label": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "List"}}}
            }
        },
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_gives_the_same_classes(tmp_path: Path, kind: str) -> None:
    path = SOURCES[kind](tmp_path)
    config = DataConfig(path=path, multi_label="most-frequent", label_order=("nodule", "oedema"))
    found = load(config)
    assert found.train.class_names == ("nodule", "oedema", NONE) and public_facts(config) == (6, (8, 8, 1), 3)
    assert found.train.labels_N.tolist() == found.test.labels_N.tolist() == [0, 0, 2, 0, 2, 1]
    assert "each of the class that comes first in nodule, oedema, or none of them" in found.told
    found = load(DataConfig(path=path, multi_label="combination", label_order=("mass", "oedema")))
    assert found.train.class_names == (NONE, "mass", "oedema", "mass + oedema")
    assert found.train.labels_N.tolist() == [2, 0, 0, 3, 1, 2]


def test_labels_without_names_go_by_their_numbers(tmp_path: Path) -> None:
    for path in (npz(tmp_path), parquet(tmp_path, LISTS)):
        found = load(DataConfig(path=path, multi_label="most-frequent", label_order=("2", "0")))
        assert found.train.class_names == ("2", "0", NONE) and found.train.labels_N.tolist() == [0, 0, 2, 0, 2, 1]


def test_all_labels_are_combined_where_they_are_known_and_few(tmp_path: Path) -> None:
    found = load(DataConfig(path=npz(tmp_path), multi_label="combination")).train
    assert found.classes == 8 and found.class_names[5] == "0 + 2" and found.labels_N.tolist() == [5, 4, 0, 7, 2, 1]


@pytest.mark.parametrize("how", ["most-frequent", "combination"])
def test_classes_do_not_depend_on_which_images_there_are(tmp_path: Path, how: Any) -> None:
    """Not even whether one has a label, or a combination, at all."""
    config = DataConfig(path=npz(tmp_path), multi_label=how, label_order=("1", "0"))
    every = load(config).train
    npz(tmp_path, np.zeros_like(ROWS))
    none = load(config).train
    assert none.class_names == every.class_names and len(set(none.labels_N.tolist())) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1), st.permutations(range(4)), st.data())
def test_rows_and_lists_are_of_the_same_class(rows: list[list[bool]], order: list[int], data: st.DataObject) -> None:
    kept = tuple(map(str, order[: data.draw(st.integers(1, 4))]))
    for how in ("most-frequent", "combination"):
        classes = Several(how, kept).among([str(one) for one in range(4)], "set")  # type: ignore[arg-type]
        by_lists = [classes.of(np.flatnonzero(row).tolist(), "row") for row in rows]
        assert classes.of_rows(np.array(rows, np.uint8), "set").tolist() == by_lists
        assert all(0 <= number < len(classes.names) for number in by_lists)
        assert len(set(classes.names)) == len(classes.names)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "rows": (npz, {}, r"train has 3 labels per image; give one each, or say how .* --data\.multi-label most-frequent"),
    "lists": (
        lambda folder: parquet(folder, LISTS), {},
        r"column label has several labels per image; say how .* --data\.multi-label .* --data\.label-column",
    ),
    "words": (csv, {}, r"has rows with several labels, with \| between them; say how .* --data\.multi-label"),
    "no order": (npz, {"multi_label": "most-frequent"}, "from the most frequent .*--data.label-order"),
    "none to combine": (
        lambda folder: parquet(folder, LISTS), {"multi_label": "combination"}, "needs the labels to combine"
    ),
    "too many": (
        lambda folder: npz(folder, np.ones((6, 7), np.uint8)), {"multi_label": "combination"},
        rf"7 labels have 128 combinations; name up to {MOST_COMBINED}",
    ),
    "unknown": (npz, {"multi_label": "combination", "label_order": ("mass",)}, "names 'mass', which is no label"),
    "twice": (npz, {"multi_label": "combination", "label_order": ("1", "1")}, "data.label_order names '1' twice"),
    "order alone": (npz, {"label_order": ("1",)}, r"data\.label_order names 1, but data\.multi_label is not given"),
    "one label": (
        lambda folder: npz(folder, LISTS_OF_ONE), {"multi_label": "combination"}, "has one label each; leave it out"
    ),
    "one label in Parquet": (
        lambda folder: parquet(folder, [0, 1] * 3), {"multi_label": "combination"}, "has one label each; leave it out"
    ),
    "other values": (
        lambda folder: npz(folder, ROWS * 2), {"multi_label": "combination"}, "train has labels other than 0 and 1"
    ),
    "other names": (
        lambda folder: npz(folder, class_names=NAMES[:2]), {"multi_label": "combination"}, "3 labels .* but names 2"
    ),
    "a number too large": (
        lambda folder: parquet(folder, [*LISTS[:5], [7]], {"dataset": {"classes": NAMES}}),
        {"multi_label": "combination"},
        "row 5 has the label 7, which is none of those with names",
    ),
    "rows in Parquet": (
        lambda folder: parquet(folder, ROWS.tolist()), {"multi_label": "combination", "label_order": ("0",)},
        "row 0 has the label '1' twice; give lists of labels, not rows of 0 and 1",
    ),
    "below 0": (
        lambda folder: parquet(folder, [*LISTS[:5], [-1]]), {"multi_label": "combination", "label_order": ("0",)},
        "row 5 has the label -1, which is no label: give words, or numbers from 0$",
    ),
    "one label in a split": (
        lambda folder: npz(folder, test_labels=LISTS_OF_ONE), {"multi_label": "combination"},
        "test has 1 labels per image, but another split 3; give all the same",
    ),
    "points": (lambda folder: parquet(folder, ROWS.astype(float).tolist()), {}, "it must hold class numbers"),
}  # fmt: skip
LISTS_OF_ONE = np.array([[0], [1]] * 3)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_said_or_cannot_be_is_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    write, more, words = REFUSED[kind]
    with pytest.raises(ValueError, match=words) as caught:
        load(DataConfig(path=write(tmp_path), **more))
    assert "\n" not in str(caught.value)


def test_rows_of_0_and_1_are_no_lists_also_where_two_labels_are(tmp_path: Path) -> None:
    path = parquet(tmp_path, [[0, 1], [1, 0]] * 3)
    with pytest.raises(ValueError, match=r"row 1 has the labels 1, 0, as a row of 0 and 1 has; give lists of labels"):
        load(DataConfig(path=path, multi_label="combination", label_order=("0", "1")))


SPELLED = {
    "words": (csv, None),
    "lists": (lambda folder: parquet(folder, [["Mass"], ["mass"], [], ["nodule"], ["mass"], ["nodule", "Mass"]]), None),
    "names": (lambda folder: npz(folder, class_names=["MASS", "mass", "nodule"]), "MASS"),
    "names of lists": (
        lambda folder: parquet(folder, LISTS, {"dataset": {"classes": ["Mass", "mass", "nodule"]}}), "Mass"
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ["most-frequent", "combination"])
@pytest.mark.parametrize("kind", SPELLED)
def test_a_label_in_two_spellings_is_not_half_forgotten(tmp_path: Path, kind: str, how: Any) -> None:
    """Images of the one that is not named would be of none of them."""
    write, other = SPELLED[kind]
    path = write(tmp_path)
    if kind == "words":
        table = Path(path).read_text()
        Path(path).write_text(table.replace("mass", "Mass", 1))
    config = DataConfig(path=path, multi_label=how, label_order=("mass", "nodule"))
    words = f"names 'mass', and images have the label '{other or 'Mass'}'; give both one spelling, or name both$"
    with pytest.raises(ValueError, match=words):
        load(config)
    assert load(replace(config, label_order=("mass", other or "Mass", "nodule"))).warned == ()


@pytest.mark.parametrize("how", ["most-frequent", "combination"])
def test_a_row_of_a_table_may_have_no_label(tmp_path: Path, how: Any) -> None:
    path = Path(csv(tmp_path))
    path.write_text(path.read_text().replace("No Finding", ""))
    found = load(DataConfig(path=str(path), multi_label=how, label_order=("nodule", "oedema"))).train
    assert found.class_names[found.labels_N[2]] == found.class_names[found.labels_N[4]] == NONE
    with pytest.raises(ValueError, match="line 4 has an empty label; fill or drop it"):
        load(DataConfig(path=str(path)))


@pytest.mark.parametrize("how", ["most-frequent", "combination"])
@pytest.mark.parametrize("kind", SOURCES)
def test_images_without_a_label_to_heed_are_counted(tmp_path: Path, kind: str, how: Any) -> None:
    told = load(DataConfig(path=SOURCES[kind](tmp_path), multi_label=how, label_order=("nodule",))).told
    # Of training and test images: a sixth has no label, which the table calls a finding.
    counts = "2 without any label and 4 with none but other labels" if kind != "table" else "6 with none but other"
    assert f"nodule, or none of them: {counts}" in told
    if kind == "table":
        path = Path(csv(tmp_path))
        path.write_text(path.read_text().replace("No Finding", ""))
        told = load(DataConfig(path=str(path), multi_label=how, label_order=("nodule",))).told
        assert "or none of them: 2 without any label and 4 with none but" in told


def test_a_bad_row_of_several_labels_is_named_by_its_line(tmp_path: Path) -> None:
    path = Path(csv(tmp_path))
    path.write_text(path.read_text().replace("nodule,test", "nodule|nodule,test", 1))
    line = next(at for at, one in enumerate(path.read_text().splitlines(), 1) if "nodule|nodule" in one)
    with pytest.raises(ValueError, match=rf"^data\.path='.*set\.csv': line {line} has the label 'nodule' twice; give"):
        load(DataConfig(path=str(path), multi_label="combination", label_order=("nodule",)))


def test_other_sources_have_one_label_each(tmp_path: Path) -> None:
    for given_as in ({"name": "digits"}, {"path": str(tmp_path)}):
        with pytest.raises(ValueError, match=r"data\.multi_label='combination' is given, but .* has one label each"):
            load(DataConfig(**given_as, multi_label="combination"))


def test_public_images_must_have_one_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path))
    for path in (npz(tmp_path), parquet(tmp_path, LISTS)):
        with pytest.raises(ValueError, match=r"public\.path=.*labels per image; (give|name)"):
            load_public(PublicConfig(path=(path,)), (8, 8, 1))
    with pytest.raises(ValueError, match=r"public\.name='chestmnist' has several labels per image; choose one of"):
        load_public(PublicConfig(name=("chestmnist",)), (8, 8, 1))


UNNAMED = {
    "words": (csv, "No Finding, mass, nodule, oedema"),
    "lists": (lambda folder: parquet(folder, WORDS), "mass, nodule, oedema"),
    "numbers": (lambda folder: parquet(folder, LISTS), "0, 1, 2"),
}


@pytest.mark.parametrize("kind", UNNAMED)
def test_labels_to_heed_that_no_image_has_are_told_of(tmp_path: Path, kind: str) -> None:
    """Where the source tells no names: where it does, another one is refused."""
    write, has = UNNAMED[kind]
    path, real = write(tmp_path), has.split(", ")[-1]
    for how in ("most-frequent", "combination"):
        config = DataConfig(path=path, multi_label=how, label_order=(real, "hernia"))  # type: ignore[arg-type]
        found = load(config)
        assert found.warned == (
            "No image has the label 'hernia', which --data.label-order names: check how it is spelled.",
        )
        assert len(found.train.class_names) == (3 if how == "most-frequent" else 4)
        assert load(replace(config, label_order=(real,))).warned == () and "sorted" not in found.told
    with pytest.raises(ValueError, match=rf"no image has a label that .* names \(hernia, 9\); they have {has}$"):
        load(DataConfig(path=path, multi_label="combination", label_order=("hernia", "9")))


@pytest.mark.parametrize("other", ["lung_mass", "Lung Mass", "lung-mass", " lung  mass", "lung\u00a0mass"])
def test_words_of_a_label_may_be_parted_in_other_ways(other: str, tmp_path: Path) -> None:
    path = parquet(tmp_path, [["lung mass" if at % 2 else other] for at in range(6)])
    with pytest.raises(ValueError, match=r"names 'lung mass', and images have the label .*; give both one spelling"):
        load(DataConfig(path=path, multi_label="most-frequent", label_order=("lung mass",)))


@pytest.mark.parametrize(
    ("one", "other"), [("HER2-", "HER2"), ("HER2+", "HER2-"), ("-1", "1"), ("T-", "T"), ("a.", "a")]
)
def test_a_sign_at_an_end_makes_another_label(one: str, other: str, tmp_path: Path) -> None:
    path = parquet(tmp_path, [[one if at % 2 else other] for at in range(6)])
    found = load(DataConfig(path=path, multi_label="most-frequent", label_order=(one,)))
    assert found.train.class_names[0] == one and found.warned == ()


@pytest.mark.parametrize("write", [csv, lambda folder: parquet(folder, WORDS)])
def test_labels_that_are_spelled_otherwise_are_refused(tmp_path: Path, write: Any) -> None:
    config = DataConfig(path=write(tmp_path), multi_label="most-frequent", label_order=("mass", "Oedema"))
    with pytest.raises(ValueError, match="names 'Oedema', and images have the label 'oedema'; spell it so"):
        load(config)
    (said,) = load(replace(config, label_order=("mass", "oedeema"))).warned
    assert said.endswith("Was 'oedema' meant?")
