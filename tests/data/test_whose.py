"""Whose an image is: read alike from every kind of source, never divided, and refused in one sentence where unclear."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn.data import mapped
from raysyn.data.images import DataConfig, Images, facts_and_units, load
from raysyn.data.persons import PREFIX, Persons, _of_one_class, is_near, number_of, spelled_twice
from raysyn.data.public import load_public
from raysyn.data.shares import limited, with_test_images
from raysyn.data.source import Source, Split
from raysyn.data.streams import PublicConfig
from raysyn.report.release import certificate, release_files
from raysyn.report.report import no_dp_section

NAMES = ("ant", "bee")
WHOSE = ["p7", "p2", "p7", "p10", "p2", "p7", "p3", "p4", "p4", "p5"]
SPLITS = ["train"] * 7 + ["test"] * 3
LABELS = [0, 1, 1, 0, 0, 1, 1, 0, 1, 0]
PIXELS = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
PATTERN = r"([^/_]+)_\d+\.png$"
BY_NAME = ("folder", "tar", "hugging face", "table of files")
"""Kinds whose persons the names of files tell."""
KINDS = ("parquet", "csv", "npz", "tar of json", *BY_NAME)


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[index, ..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def table(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def source(home: Path, kind: str, whose: list[Any] = WHOSE, splits: list[str] = SPLITS) -> DataConfig:
    """The images as a source of `kind` that names persons, and the flags that it is read with."""
    rows = list(range(len(whose)))
    files = {index: f"{whose[index] if kind in BY_NAME else 'scan'}_{index:03d}.png" for index in rows}
    pattern = PATTERN if kind in BY_NAME else None
    if kind in ("parquet", "hugging face"):
        images: Any = [png(index) for index in rows]
        if kind == "hugging face":
            images = [{"bytes": one, "path": files[index]} for index, one in enumerate(images)]
        columns = {"image": images, "label": LABELS, "split": splits}
        columns |= {"person": whose} if kind == "parquet" else {}
        pq.write_table(pa.table(columns), home / "set.parquet")
        return DataConfig(path=str(home / "set.parquet"), person_pattern=pattern)
    if kind == "npz":
        arrays: dict[str, np.ndarray] = {}
        for split in sorted(set(splits)):
            at = [index for index in rows if splits[index] == split]
            arrays[f"{split}_images"], arrays[f"{split}_labels"] = PIXELS[at, ..., 0], np.array(LABELS)[at]
            arrays[f"{split}_persons"] = np.array([whose[index] for index in at])
        np.savez(home / "set.npz", **arrays)  # type: ignore[arg-type]
        return DataConfig(path=str(home / "set.npz"))
    if kind in ("tar", "tar of json"):
        (home / "set").mkdir()
        for split in sorted(set(splits)):
            with tarfile.open(home / "set" / f"{split}-000.tar", "w") as archive:
                for index in (index for index in rows if splits[index] == split):
                    key = files[index].removesuffix(".png")
                    said = (f"{key}.cls", str(LABELS[index]).encode())
                    if kind == "tar of json":
                        about = {"label": LABELS[index], "Person": whose[index]}
                        said = (f"{key}.json", json.dumps(about).encode())
                    for name, content in ((f"{key}.png", png(index)), said):
                        (member := tarfile.TarInfo(f"./scans/{name}")).size = len(content)
                        archive.addfile(member, io.BytesIO(content))
        return DataConfig(path=str(home / "set"), person_pattern=pattern)
    for index in rows:
        file = home / "set" / splits[index] / NAMES[LABELS[index]] / files[index]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(index))
    if kind == "folder":
        return DataConfig(path=str(home / "set"), person_pattern=pattern)
    found = [{"path": files[index], "label": LABELS[index], "split": splits[index]} for index in rows]
    found = [{**one, "person": whose[index]} if kind == "csv" else one for index, one in enumerate(found)]
    return DataConfig(path=table(home / "set.csv", found), person_pattern=pattern)


def persons(images: Images, whose: list[Any] = WHOSE) -> dict[bytes, str]:
    """{image: whose it is}, by the numbers that were read, named as the first image of each number is."""
    assert images.persons_N is not None
    known = {one.tobytes(): str(who) for one, who in zip(PIXELS, whose, strict=False)}
    names: dict[int, str] = {}
    return {
        one.tobytes(): names.setdefault(number, known[one.tobytes()])
        for one, number in zip(images.images_NHWC, images.persons_N.tolist(), strict=True)
    }


def wanted(split: str) -> dict[bytes, str]:
    return {PIXELS[at].tobytes(): WHOSE[at] for at in range(len(WHOSE)) if SPLITS[at] == split}


def fault(config: DataConfig) -> str:
    with pytest.raises(ValueError) as caught:
        load(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_persons_are_read_from_every_kind_of_source(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = source(tmp_path, kind)
    found = load(config)
    assert persons(found.train) == wanted("train") and persons(found.test) == wanted("test")
    assert (found.train.units, found.test.units) == (4, 2)
    assert found.told.endswith("; 4 persons in train, of 1 to 3 images each") and found.told.count("persons") == 2
    assert found.warned == () and found.own
    # The number of persons is public, as that of images is.
    assert facts_and_units(config) == ((7, (8, 8, 1), 2), 4, "person")
    assert load(config).fingerprint() == found.fingerprint()
    # However many they are, and whatever they are of.
    monkeypatch.setattr(mapped, "IN_MEMORY", 100)
    plain = load(replace(config, labels=False))
    assert persons(plain.train) == wanted("train") and plain.train.classes == 1


@pytest.mark.parametrize("kind", KINDS)
def test_somebody_in_two_splits_is_refused(kind: str, tmp_path: Path) -> None:
    whose = [*WHOSE[:7], "p2", "p2", "p7"]
    sentence = fault(source(tmp_path, kind, whose))
    assert "2 persons have images in train and in test" in sentence and "divide by person" in sentence


@pytest.mark.parametrize("kind", KINDS)
def test_with_one_image_each_there_are_as_many_as_without_persons(kind: str, tmp_path: Path) -> None:
    whose = [f"q{at}" for at in range(10)]
    found = load(replace(source(tmp_path, kind, whose, ["train"] * 10), test_share=0.3, limit=4))
    assert found.train.units == len(found.train) == 4 and found.test.units == len(found.test) == 3
    # Whatever the kind of source: by their names alone.
    order = sorted(range(10), key=lambda at: number_of(whose[at], {}, ""))
    held, kept = ({PIXELS[at].tobytes() for at in some} for some in (order[:3], order[3:7]))
    assert held == {one.tobytes() for one in found.test.images_NHWC}
    assert kept == {one.tobytes() for one in found.train.images_NHWC}


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("persons", [3, 10, 41])
def test_whoever_comes_moves_one_other_at_most(persons: int, share: float) -> None:
    """And nobody moves where a source is in another order. A limit beside the share moves one more."""

    told: list[str] = []

    def sides(some: list[str]) -> tuple[set[Any], set[Any]]:
        numbers_N = np.array([number_of(name, {}, "") for name in some])
        whole = Source("set", "set", ["it"], {"train": Split(some, np.zeros(len(some), np.int64), str, numbers_N)})
        parted = with_test_images(whole, share)
        told.append(parted.told)
        left = parted.splits["train"].pictures
        kept = limited(parted, "train", persons // 3)
        return set(parted.splits["test"].pictures), {left[at] for at in kept}

    names = [f"patient {at}" for at in range(persons)]
    held, kept = before = sides(names)
    assert f"{len(held)} of its {persons} persons with all their images held out" in told[0]
    assert before == sides(names[::-1]) == sides(names[1::2] + names[::2])
    for name in names:
        other_held, other_kept = sides([one for one in names if one != name])
        assert len((held ^ other_held) - {name}) <= 1
        assert len(((held ^ other_held) | (kept ^ other_kept)) - {name}) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_and_a_limit_divide_no_person(kind: str, tmp_path: Path) -> None:
    config = source(tmp_path, kind, splits=["train"] * 10)
    found = load(replace(config, test_share=0.34))
    assert "; 2 of its 6 persons with all their images held out as test images (--data.test-share 0.34)" in found.told
    left, held = persons(found.train), persons(found.test)
    assert not set(left.values()) & set(held.values()) and left | held == dict(
        zip((one.tobytes() for one in PIXELS), WHOSE, strict=True)
    )
    few = load(replace(config, test_share=0.34, limit=3))
    kept = persons(few.train)
    assert few.train.units == 3 and kept == {one: who for one, who in left.items() if who in kept.values()}
    with pytest.raises(ValueError, match=r"data.limit=5 exceeds the 4 persons of .* that are left to train; lower it"):
        load(replace(config, test_share=0.34, limit=5))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.01, 0.99), st.integers(1, 60))
def test_nobody_is_ever_divided(whose: list[int], share: float, limit: int) -> None:
    n, numbers = len(whose), np.array(whose, np.int64)
    split = Split(list(range(n)), np.zeros(n, np.int64), str, numbers)
    whole = Source("set", "set", ["it"], {"train": split})
    if len(set(whose)) < 2:
        with pytest.raises(ValueError, match="1 person"):
            with_test_images(whole, share)
        return
    parts = with_test_images(whole, share).splits
    train_N, test_N = parts["train"].persons_N, parts["test"].persons_N
    assert train_N is not None and test_N is not None and len(train_N) and len(test_N)
    assert not set(train_N) & set(test_N) and sorted((*train_N, *test_N)) == sorted(whose)
    assert abs(len(set(test_N)) - share * len(set(whose))) <= 1
    # Labels and places are those of the same images.
    assert numbers[list(parts["train"].pictures)].tolist() == train_N.tolist()  # type: ignore[arg-type]
    kept = limited(whole, "train", limit)
    assert set(np.delete(numbers, kept)).isdisjoint(numbers[kept])
    assert len(set(numbers[kept])) == min(limit, len(set(whose)))
    assert set(kept) <= set(limited(whole, "train", limit + 5))
    # Who is among them does not depend on how many images anybody has.
    twice = replace(
        whole, splits={"train": Split([*whose, *whose], np.zeros(2 * n, np.int64), str, np.tile(numbers, 2))}
    )
    assert set(np.tile(numbers, 2)[limited(twice, "train", limit)]) == set(numbers[kept])


@pytest.mark.parametrize("empty", [None, "", "  "])
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_knows_whose_is_refused(kind: str, empty: str | None, tmp_path: Path) -> None:
    if kind != "parquet":
        empty = (
            (empty or "") if kind in ("csv", "npz", "tar of json") else ""
        )  # spaces would be a part of a file's name
    sentence = fault(source(tmp_path, kind, [*WHOSE[:3], empty, *WHOSE[4:]]))
    row = {"parquet": "row 3", "csv": "line 5", "npz": "train image 3", "tar": "scans/", "hugging face": "row 3"}
    row["tar of json"] = "scans/scan_003"
    assert row.get(kind, "_003.png") in sentence and "person" in sentence


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_column_of_any_name_numbers_and_categories_are_persons(ending: str, tmp_path: Path) -> None:
    numbers = [int(who[1:]) for who in WHOSE]
    path = source(tmp_path, ending[1:], numbers).path
    assert path is not None
    if ending == ".csv":
        Path(path).write_text(Path(path).read_text().replace("person", "Patient"))
    else:
        read = pq.read_table(path).rename_columns(["image", "label", "split", "Patient"])
        pq.write_table(read.set_column(3, "Patient", read["Patient"].cast(pa.int16()).dictionary_encode()), path)
    assert load(DataConfig(path=path)).train.persons_N is None
    found = load(DataConfig(path=path, person_column="Patient"))
    assert persons(found.train) == wanted("train") and "persons in Patient" in found.told
    assert "person_column='patients' names; it has" in fault(DataConfig(path=path, person_column="patients"))


def test_names_begin_in_the_folder_of_the_split_in_the_archive_or_at_the_table(tmp_path: Path) -> None:
    for kind, begin in (("folder", "(?:ant|bee)/"), ("tar", "scans/"), ("hugging face", ""), ("table of files", "")):
        (tmp_path / kind).mkdir()
        config = source(tmp_path / kind, kind)
        folder = r"set/(?:train|test)/(?:ant|bee)/" if kind == "table of files" else ""
        found = load(replace(config, person_pattern=rf"^{begin}{folder}([^/_]+)_\d{{3}}\.png$"))
        assert persons(found.train) == wanted("train") and persons(found.test) == wanted("test")


def test_the_same_name_in_other_spellings_of_unicode_is_one_person(tmp_path: Path) -> None:
    whose = ["\u00e9", "e\u0301", " \u00e9 ", "e", *WHOSE[4:]]
    assert load(source(tmp_path, "parquet", whose)).train.persons_N.tolist()[:4] == [0, 0, 0, 1]  # type: ignore[union-attr]
    # A letter and its mark apart are no end of a word.
    apart = Persons.of(None, r"(\w+)_")
    assert [apart._in_name(name) for name in ("mu\u0308ller_1", "m\u00fcller_2", "mo\u0308ller_1")] == [
        "m\u00fcller", "m\u00fcller", "m\u00f6ller"
    ]  # fmt: skip
    assert Persons.of(None, "(mu\u0308)")._in_name("m\u00fc") == "m\u00fc"
    # Nor is what does not show a part of a name.
    numbers = dict[str, int]()
    assert (
        len({number_of(one, numbers, "") for one in ("\u00e9", "\u00e9\u200b", "e\u200b\u0301", "\ufeff\u00e9 ")})
        == len(numbers)
        == 1
    )


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "NA", "N/A", "<NA>", "#N/A", "n.a.", "?", "-"])
def test_what_tables_hold_in_place_of_a_name_is_nobody(word: str, tmp_path: Path) -> None:
    sentence = fault(source(tmp_path, "csv", [word, *WHOSE[1:]]))
    assert f"the person {word!r}, which is nobody; name whose image it is" in sentence


@pytest.mark.parametrize(
    ("kind", "flags", "said"),
    [
        *((kind, {"person_column": "a", "person_pattern": "b"}, ("person_column='a'", "leave one")) for kind in KINDS),
        *((kind, {"person_pattern": "(p"}, ("person_pattern='(p' is no regular expr", "mend")) for kind in KINDS),
        *((kind, {"person_pattern": "(a)(p)"}, ("has 2 groups", "(?P<person>...)")) for kind in KINDS),
        *((kind, {"person_pattern": "[[a]p"}, ("is no regular expression", "mend it")) for kind in KINDS),
        *((kind, {"person_column": "who"}, ("person_column='who' names a column", "--data.person-pattern"))
          for kind in ("npz", "folder", "tar")),
        *((kind, {"person_pattern": "p"}, ("names of files, which", "in a column")) for kind in ("npz", "parquet")),
        *((kind, {"person_pattern": "(x)?p"}, ("finds no person", "png'")) for kind in BY_NAME),
        *((name, flag, (f"data.name='{name}' is a set by name", "leave it out")) for name in ("digits", "mnist")
          for flag in ({"person_column": "who"}, {"person_pattern": "p"})),
    ],
)  # fmt: skip
def test_flags_that_do_not_fit_are_refused(
    kind: str, flags: dict[str, str], said: tuple[str, ...], tmp_path: Path
) -> None:
    there = {"path": source(tmp_path, kind).path} if kind in KINDS else {"name": kind}
    sentence = fault(DataConfig(**there, **flags))  # type: ignore[arg-type]
    assert all(word in sentence for word in said), sentence


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"test_persons": None}, "lacks test_persons; give both"),
        ({"train_persons": None}, "lacks train_persons; give both"),
        ({"train_persons": np.arange(6)}, "train_persons is int64 of shape (6,); give a number or string for each of"),
        ({"test_persons": np.zeros(3)}, "test_persons is float64 of shape (3,)"),
        ({"test_persons": np.array([b"a"] * 3)}, "test_persons is |S1"),
    ],
)
def test_arrays_of_persons_that_do_not_fit_are_refused(
    arrays: dict[str, np.ndarray | None], said: str, tmp_path: Path
) -> None:
    path = source(tmp_path, "npz").path
    assert path is not None
    with np.load(path) as file:
        given = {**file, **arrays}
    np.savez(path, **{name: array for name, array in given.items() if array is not None})  # type: ignore[arg-type]
    assert said in fault(DataConfig(path=path))


@pytest.mark.parametrize("kind", ["floats", "lists", "bytes", "truth"])
def test_a_column_of_no_names_is_refused(kind: str, tmp_path: Path) -> None:
    odd = {"floats": [0.0, *[None] * 9], "lists": [[1]] * 10, "bytes": [b"x"] * 10, "truth": [True] * 10}
    sentence = fault(source(tmp_path, "parquet", odd[kind]))
    assert "column person is" in sentence and "rename" in sentence


def test_a_column_person_that_is_the_label_is_no_person(tmp_path: Path) -> None:
    path = source(tmp_path, "csv").path
    table(tmp_path / "set.csv", [
        {"path": f"scan_{at:03d}.png", "person": "yes" if LABELS[at] else "no", "split": SPLITS[at]}
        for at in range(10)
    ])  # fmt: skip
    assert load(DataConfig(path=path, label_column="person")).train.persons_N is None


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_public_images_are_nobodys(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    path = source(tmp_path, kind, ["", *WHOSE[1:7], "p2", "p2", "p2"]).path
    assert path is not None
    found = load_public(PublicConfig(path=(path,)), (8, 8, 1))
    assert (len(found.train), len(found.valid)) == (7, 3) and found.train.persons_N is None


def test_a_release_has_no_persons(tmp_path: Path) -> None:
    made = Images(PIXELS, np.array(LABELS), NAMES, np.arange(10) // 2)
    terms = certificate(no_dp_section(), method="m", name="set", n=1, shape=(8, 8, 1), class_names=NAMES)
    for name, content in release_files(made, terms, name="synthetic set").items():
        (tmp_path / name).write_bytes(content)
    path = str(tmp_path / "synthetic.parquet")
    found = load(DataConfig(path=path))
    assert found.train.persons_N is None and not found.own
    assert "names of files, which" in fault(DataConfig(path=path, person_pattern="p"))


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_who_has_no_image_that_can_be_decoded_is_gone(kind: str, tmp_path: Path) -> None:
    config = source(tmp_path, kind)
    broken = next((tmp_path / "set").rglob("*_003.png"))
    broken.write_bytes(broken.read_bytes()[:40])
    config = replace(config, skip_broken=1)
    found = load(config)
    assert found.train.units == 3 and persons(found.train) == {
        one: who for one, who in wanted("train").items() if who != "p10"
    }
    assert facts_and_units(config) == ((6, (8, 8, 1), 2), 3, "person")


@pytest.mark.parametrize(
    ("pattern", "warned"),
    [(r"^(.*)_\d+", 1), (r"^.*_", 1), (r"(?P<person>p\d+)(_)", 0), (r"p\d+", 0), (PREFIX, 0),
     (r"(x)?(?P<person>p.*)_", 0)],
)  # fmt: skip
def test_a_class_in_the_name_of_a_person_is_warned_of(pattern: str, warned: int, tmp_path: Path) -> None:
    found = load(DataConfig(path=source(tmp_path, "folder").path, person_pattern=pattern))
    assert len(found.warned) == warned and found.train.units == (6 if warned else 4)
    assert all("two persons" in one for one in found.warned)


@pytest.mark.parametrize(("classes", "person", "warned"), [
    (("cat", "dog"), "{class}_{who}", 1), (("cat", "dog"), "{who}", 0), (("cat", "dog"), "train/{class}/{who}", 1),
    (("Lung mass", "none"), "{who}-lung_mass", 1), (("0", "1"), "{who}_1", 0), (("0", "1"), "a/{class}/{who}", 1),
    (("ann", "bee"), "{who}", 0), (("cat", "dog"), "{class}{at}", 1), (("cat", "dog"), "pt{at}{class}", 1),
    (("cat", "dog"), "{class}Patient{at}", 1), (("cat", "dog"), "PT{at}{class}17", 1),
    (("Lung mass", "none"), "{at}LungMass", 1), (("IDC", "dog"), "PtIDCAnn{at}", 1),
    (("class 1", "dog"), "class1_{at}", 1),
    (("cat", "dog"), "con{class}{at}", 0), (("0", "1"), "{at}/{who}", 0), (("0", "1"), "{class}/{at}", 1),
    (("0", "1"), "p{class}_{at}", 0), (("-", "cat"), "/{at}", 0),
])  # fmt: skip
def test_the_name_of_a_class_is_found_wherever_it_is(classes: tuple[str, ...], person: str, warned: int) -> None:
    """As a folder anywhere above, or as a word: one person of many may be called as a class is."""
    names = [person.format_map({"class": classes[at % 2], "at": at, "who": f"ann {at}" if at < 3 else f"p{at}"})
             for at in range(8)]  # fmt: skip
    assert len(_of_one_class(names, Source("set", "set", classes, {}))) == warned


@pytest.mark.parametrize("name", ["disease {}", "disease{}", "d{} e{} f"])
def test_many_classes_are_sought_in_many_names(name: str) -> None:
    classes, began = [name.format(at, at) for at in range(1000)], time.process_time()
    assert _of_one_class([f"person {at}" for at in range(2000)], Source("set", "set", classes, {})) == []
    assert time.process_time() - began < 1


def near(home: Path, kind: str, column: str, whose: list[Any] = WHOSE) -> DataConfig:
    """A source whose persons are in a column, key or array that is called otherwise."""
    config = source(home, kind, whose)
    path = Path(str(config.path))
    if kind == "csv":
        path.write_text(path.read_text().replace("person", column, 1))
    elif kind == "parquet":
        pq.write_table(pq.read_table(path).rename_columns(["image", "label", "split", column]), path)
    elif kind == "npz":
        arrays = {name.replace("persons", column): one for name, one in np.load(path).items()}
        np.savez(path, **arrays)
    else:
        for shard in path.iterdir():  # as long as before, so that headers hold
            shard.write_bytes(shard.read_bytes().replace(b'"Person"', f'"{column}"'.encode()))
    return config


@pytest.mark.parametrize("column", [
    "patient_id", "Patient", "PatientID", "subject", "case_id", "person id", "MRN", "pat_id", "subj", "SubjNo",
    "id_patient",
])  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_look_like_persons_are_asked_about_and_not_used(kind: str, column: str, tmp_path: Path) -> None:
    config = near(tmp_path, kind, column)
    (asked,) = load(config).warned
    assert asked.startswith(f"Column {column!r} looks like persons: name it with --data.person-column")
    assert load(config).train.persons_N is None
    named = load(replace(config, person_column=column))
    assert named.warned == () and persons(named.train) == wanted("train")


@pytest.mark.parametrize(("kind", "column", "said"), [
    ("npz", "patient", "The array 'test_patient' looks like persons"), ("tar of json", "person", ""),
    ("tar of json", "MyCase", ""), ("tar of json", "CaseID", "Column 'CaseID' looks like persons"),
    ("csv", "age", ""), ("parquet", "body_part", ""), ("csv", "uppercase", ""), ("csv", "id", ""),
    ("csv", "pathid", ""),
])  # fmt: skip
def test_other_sources_are_asked_about_too_and_other_columns_are_not(
    kind: str, column: str, said: str, tmp_path: Path
) -> None:
    found = load(near(tmp_path, kind, column))
    assert len(found.warned) == bool(said) and all(one.startswith(said) for one in found.warned)
    assert (found.train.persons_N is None) == (column != "person")


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name", ["persons", "patient_id", "PatientID", "train_case_id", "test_subj"])
def test_arrays_of_persons_are_asked_about_by_whatever_name(name: str, labels: bool, tmp_path: Path) -> None:
    path = source(tmp_path, "npz").path
    arrays = {key: one for key, one in np.load(str(path)).items() if not key.endswith("_persons")}
    np.savez(str(path), **arrays, **{name: np.arange(10)})
    found = load(DataConfig(path=path, labels=labels))
    assert found.train.persons_N is None and found.warned == (
        f"The array {name!r} looks like persons: if it is, give such arrays for each split, train_persons and "
        "test_persons.",
    )


def test_a_column_that_one_file_of_a_set_has_is_no_other_set(tmp_path: Path) -> None:
    read = pq.read_table(str(source(tmp_path, "parquet").path)).rename_columns(["image", "label", "split", "patient"])
    (tmp_path / "set").mkdir()
    for split, one in (("train", read), ("test", read.drop_columns(["patient"]))):
        pq.write_table(one.filter(pc.equal(one["split"], split)), tmp_path / f"set/{split}.parquet")
    assert len(load(DataConfig(path=str(tmp_path / "set"))).train) == 7


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "tar of json", "folder"])
@pytest.mark.parametrize("other", ["P7", "p07", "p 7"])
def test_persons_in_two_spellings_are_counted(kind: str, other: str, tmp_path: Path) -> None:
    whose = [other if at == 2 else "p 7" if at == 5 and " " in other else who for at, who in enumerate(WHOSE)]
    whose = [who.replace("p7", "p-7") if " " in other else who for who in whose]
    (warned,) = load(source(tmp_path, kind, whose)).warned
    assert warned.startswith("2 persons are 1 but for capital letters, leading zeros") and "p" + "7" not in warned


@pytest.mark.parametrize(("one", "other", "same"), [
    ("7", "7.0", True), ("07", "7.00", True), ("p07", "p7", True), ("1_05", "1 5", True), ("a.b", "a-b", True),
    ("Ann.05", "ann 5", True), ("-07", "-7", True), ("07.5", "7.5", True), ("0", "00", True), ("1-5", "1_5", True),
    ("-7", "7", False), ("+7", "7", False), ("1.5", "1.05", False), ("1.5", "15", False), ("1.5", "1 5", False),
    ("10", "1", False), ("100.0", "1", False), ("7.01", "7.1", False),
    ("P-1", "P\u20131", True), ("P-1", "P\u20111", True), ("'7", "7", True), ("\u2019a1", "a1", True),
])  # fmt: skip
def test_other_spellings_of_a_number_are_those_of_its_value(one: str, other: str, same: bool) -> None:
    assert bool(spelled_twice([one, other])) == same == bool(spelled_twice([other.upper(), one]))


@pytest.mark.parametrize(
    ("column", "asked"),
    [
        (name, True)
        for name in (
            "Kunde",
            "kundennummer",
            "KundenID",
            "Konto-Nr",
            "cust_id",
            "account_no",
            "IBAN",
            "Surname",
            "member_id",
            "StudentNr",
            "SSN",
        )
    ]
    + [(name, False) for name in ("Belegart", "label", "number", "id", "image", "split")],
)
def test_columns_are_asked_about_by_what_they_are_called_in_banks_schools_and_in_german(
    column: str, asked: bool
) -> None:
    assert is_near(column) == asked


@pytest.mark.parametrize("value", [[1], True, 1.5, {"id": 1}])
def test_a_person_in_json_is_a_number_or_a_word(value: Any, tmp_path: Path) -> None:
    """What is none is asked about, and refused where it was asked for."""
    config = source(tmp_path, "tar of json", [value, *WHOSE[1:]])
    found = load(config)
    assert found.train.persons_N is None
    assert [one[:40] for one in found.warned] == ["Column 'Person' looks like persons: name"]
    sentence = fault(replace(config, person_column="Person"))
    assert "scans/scan_000 has a Person in its json that is no number or word; mend it" in sentence
    assert "person_column='whose' names; it has label, Person" in fault(replace(config, person_column="whose"))


def shards(home: Path, jsons: list[str | None]) -> DataConfig:
    """Samples with labels by .cls, and what their .json hold, if they have one."""
    for split, rows in (("train", range(len(jsons) - 1)), ("test", range(len(jsons) - 1, len(jsons)))):
        (home / "set").mkdir(exist_ok=True)
        with tarfile.open(home / "set" / f"{split}.tar", "w") as archive:
            for at in rows:
                told = {"png": png(at), "cls": b"0", "json": (jsons[at] or "").encode()}
                for ending, content in told.items() if jsons[at] is not None else [*told.items()][:2]:
                    (member := tarfile.TarInfo(f"s{at}.{ending}")).size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return DataConfig(path=str(home / "set"))


@pytest.mark.parametrize("column", [None, "person"])
@pytest.mark.parametrize("at", [0, 2, 3])
@pytest.mark.parametrize(("content", "said"), [
    (None, "has no json, in which {} would be; add it"), ("{", "has a label json that is no JSON; mend it"),
    ("[" * 10**5, "has a label json that is no JSON; mend it"),
])  # fmt: skip
def test_a_json_that_names_nobody_beside_others_is_told(
    content: str | None, said: str, at: int, column: str | None, tmp_path: Path
) -> None:
    jsons: list[str | None] = [json.dumps({"person": at}) for at in range(4)]
    jsons[at] = content
    what = "its person" if column is None else f"data.person_column={column!r}"
    assert f"sample s{at} {said.format(what)}" in fault(replace(shards(tmp_path, jsons), person_column=column))


def test_json_that_cannot_be_read_is_counted_where_nobody_is_named(tmp_path: Path) -> None:
    found = load(shards(tmp_path, ["{", '{"age": 3}', None, "[1]"]))
    assert found.train.persons_N is None and "left out: 1 json that cannot be read" in found.told
