"""Names of classes leave: those of persons must not be among them without a word."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.named_classes import called_like_persons


@pytest.mark.parametrize(
    "names",
    [
        ("patient_000", "patient_001", "patient_002"),
        ("Patient 7", "Patient 12"),
        ("PAT0012", "PAT0013", "unknown"),
        ("sub-01", "sub-02"),
        ("pat-A17", "pat-B3"),
        ("case17", "case18"),
        ("Kunde 4711", "Kunde 4712"),
        ("_user3", "user_4"),
        ("P001", "P002"),
        ("ID_12", "ID_13"),
        ("1_patient", "2_patient"),
        ("0012345", "0012346"),
    ],
)
def test_classes_that_are_persons_are_warned_of(names: tuple[str, ...]) -> None:
    (said,) = called_like_persons(names, None)
    assert f" classes are called like persons ({names[0]}, {names[1]})" in said and "--data.no-labels" in said
    (looked,) = called_like_persons(names, None, "")
    assert "--no-labels" in looked and "--data." not in looked


@pytest.mark.parametrize(
    "names",
    [
        ("case", "control"),
        ("0", "1", "2"),
        ("class_1", "class_2"),
        ("stage 1", "stage 2", "stage 3"),
        ("patient 1", "healthy", "other"),
        ("patient_000",),
        ("subway 1", "subway 2"),
        ("covid-19", "sars-2"),
        ("p1", "p2"),
        ("s1", "s2"),
        ("1990", "1991"),
        ("patient", "user"),
        ("3_stage", "4_stage"),
        (),
    ],
)
def test_others_are_not(names: tuple[str, ...]) -> None:
    assert called_like_persons(names, None) == []


@pytest.mark.parametrize(("column", "warned"), [("patient_id", 1), ("Kunde", 1), ("diagnosis", 0), (None, 0)])
def test_a_column_of_labels_that_is_called_like_one_of_persons_is_warned_of(column: str | None, warned: int) -> None:
    assert len(called_like_persons(("Meier", "Schulz"), column)) == warned


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> str:
    persons = [f"Meier {index % 4}" for index in range(20)]
    columns = {
        "image": [png(index) for index in range(20)],
        "patient": persons,
        "label": [str(at // 4 % 2) for at in range(20)],
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return str(tmp_path / "t.parquet")


def test_one_column_is_not_read_as_both(table: str) -> None:
    with pytest.raises(ValueError, match=r"data\.label_column='patient' and data\.person_column='patient' name one"):
        load(DataConfig(path=table, label_column="patient", person_column="patient", test_share=0.2))


def test_what_is_read_warns(table: str, tmp_path: Path) -> None:
    warned = load(DataConfig(path=table, label_column="patient", test_share=0.2)).warned
    assert sum("called like a column of persons" in one for one in warned) == 1
    named = load(DataConfig(path=table, person_column="patient", test_share=0.2)).warned
    assert not any("called like" in one for one in named)
    for index in range(20):
        (folder := tmp_path / "scans" / f"patient_{index % 4:03d}").mkdir(parents=True, exist_ok=True)
        (folder / f"{index}.png").write_bytes(png(index))
    place = str(tmp_path / "scans")
    (said,) = load(DataConfig(path=place, test_share=0.2)).warned
    assert said.startswith("4 classes are called like persons (patient_000, patient_001), and their names leave")
    mended = load(DataConfig(path=place, test_share=0.25, labels=False, person_pattern="^([^/]+)/"))
    assert mended.warned == (), "each folder is one person's, and no class"
    assert mended.train.units == 3 and mended.train.classes == 1


def test_a_folder_of_each_person_is_read_as_that_also_where_others_are_tested(tmp_path: Path) -> None:
    for index in range(24):
        who = index % 8
        (folder := tmp_path / ("test" if who > 5 else "train") / f"patient_{who:03d}").mkdir(
            parents=True, exist_ok=True
        )
        (folder / f"{index}.png").write_bytes(png(index))
    with pytest.raises(
        ValueError, match=r"class 'patient_006' of test/ is not in train/.*: --data\.no-labels --data\.person-pattern '"
    ):
        load(DataConfig(path=str(tmp_path)))
    read = load(DataConfig(path=str(tmp_path), labels=False, person_pattern="^([^/]+)/"))
    assert read.warned == () and (read.train.units, read.test.units) == (6, 2)
