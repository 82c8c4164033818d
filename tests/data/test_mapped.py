"""Many images lie in a file without a name: the same images as in memory, and nothing of them stays."""

from __future__ import annotations

import errno
import io
import os
import pickle
import tempfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data import broken, mapped, npz, stored, survey
from raysyn.data import pixels as of_files
from raysyn.data.images import DataConfig, Images, load
from raysyn.data.mapped import Room, blanked, concatenated, taken
from raysyn.data.parquet import Table
from raysyn.data.reading import Reading
from raysyn.data.sources import from_path

N = 24
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(N) % 3
SPLIT = ["test" if number % 4 == 1 else "train" for number in range(N)]
TRAIN = np.array([split == "train" for split in SPLIT])


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def in_parquet(folder: Path) -> str:
    table = pa.table({"image": list(map(png, PIXELS)), "label": LABELS, "split": SPLIT})
    pq.write_table(table, folder / "set.parquet", row_group_size=5)
    return str(folder / "set.parquet")


def in_npz(folder: Path, save: Callable[..., None] = np.savez) -> str:
    arrays = {"train_images": PIXELS[TRAIN], "test_images": PIXELS[~TRAIN]}
    save(folder / "set.npz", **arrays, train_labels=LABELS[TRAIN], test_labels=LABELS[~TRAIN])
    return str(folder / "set.npz")


def compressed(folder: Path) -> str:
    return in_npz(folder, np.savez_compressed)


def in_folder(folder: Path) -> str:
    for number, pixels in enumerate(PIXELS):
        file = folder / "set" / SPLIT[number] / str(LABELS[number]) / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return str(folder / "set")


@pytest.fixture
def in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is more than 100 bytes lies in a file of this folder."""
    monkeypatch.setattr(mapped, "IN_MEMORY", 100)
    monkeypatch.setattr(npz, "IN_MEMORY", 100)
    monkeypatch.setattr(mapped, "AT_ONCE", 500)  # two images
    monkeypatch.setattr(npz, "AT_ONCE", 500)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


sources = pytest.mark.parametrize("write", [in_parquet, in_npz, compressed, in_folder])


@sources
@pytest.mark.parametrize("more", [{}, {"size": 8}, {"crop": "centre"}, {"limit": 7}])
def test_images_in_a_file_are_those_in_memory(
    tmp_path: Path, write: Callable[[Path], str], more: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    config = DataConfig(path=write(tmp_path), **more)
    before = load(config)
    assert before.train.images_NHWC.flags.writeable
    place = request.getfixturevalue("in_a_file")
    found = load(config)
    assert found.fingerprint() == before.fingerprint() and found.copies == before.copies
    assert not found.train.images_NHWC.flags.writeable, "it is in memory"
    assert not list(place.iterdir()), "the file has a name"


def test_they_are_selected_and_joined_into_files_and_travel_by_value(in_a_file: Path, tmp_path: Path) -> None:
    images = load(DataConfig(path=in_npz(tmp_path))).train
    mask = np.arange(len(images)) % 3 > 0
    for indices in (np.array([5, 1, 1, 0]), mask, slice(3, 9), [2, 4]):
        some = images.select(indices)
        assert np.array_equal(some.images_NHWC, PIXELS[TRAIN][indices])
        assert np.array_equal(some.labels_N, LABELS[TRAIN][indices])
    assert not images.select(mask).images_NHWC.flags.writeable
    both = concatenated([images.images_NHWC, PIXELS])
    assert np.array_equal(both, np.concatenate([PIXELS[TRAIN], PIXELS])) and not both.flags.writeable
    # As Ray sends it: the pixels apart, so that all processes of a machine share them.
    buffers: list[Any] = []
    sent = pickle.dumps(images, protocol=5, buffer_callback=buffers.append)
    assert len(sent) < 2000 and pickle.loads(sent, buffers=buffers).fingerprint() == images.fingerprint()


def test_few_images_are_selected_as_ever() -> None:
    images = Images(PIXELS, LABELS, ("a", "b", "c"))
    assert np.shares_memory(images.select(slice(2, 5)).images_NHWC, PIXELS)
    assert taken(PIXELS, np.array([1, 2])).flags.writeable
    assert np.array_equal(concatenated([PIXELS[:3], PIXELS[3:]]), PIXELS)


def test_without_a_file_they_are_in_memory_and_it_is_said(
    in_a_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    found = load(DataConfig(path=in_parquet(tmp_path)))
    assert np.array_equal(found.train.images_NHWC, PIXELS[TRAIN]) and found.train.images_NHWC.flags.writeable
    said = capsys.readouterr().err
    assert f"held in memory, since {in_a_file} has no file for them (No space left on device): set TMPDIR" in said
    assert not list(in_a_file.iterdir())


def test_a_folder_that_is_named_and_is_not_there_sends_them_to_no_other(
    in_a_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    monkeypatch.setenv("TMPDIR", str(gone))
    monkeypatch.setattr(tempfile, "tempdir", str(in_a_file))  # which would be taken for it
    found = load(DataConfig(path=in_parquet(tmp_path)))
    assert np.array_equal(found.train.images_NHWC, PIXELS[TRAIN]) and found.train.images_NHWC.flags.writeable
    said = f"held in memory, since {gone} has no file for them (No such file or directory): set TMPDIR"
    assert said in capsys.readouterr().err


def test_only_its_user_may_read_the_file(in_a_file: Path) -> None:
    with Room(4, (9, 8, 3), "four images") as room:
        assert room._file is not None
        told = os.fstat(room._file.fileno())
        before, array = mapped.mapped_bytes(), room.array()
    assert mapped.mapped_bytes() - before == array.nbytes == 864
    del array, room
    assert mapped.mapped_bytes() == before
    assert (told.st_mode & 0o777, told.st_nlink, told.st_size) == (0o600, 0, 4 * 9 * 8 * 3)


@pytest.mark.parametrize("cut", [1, 200])
def test_a_damaged_array_costs_a_sentence(in_a_file: Path, tmp_path: Path, cut: int) -> None:
    path = Path(compressed(tmp_path))
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["train_images.npy"] = members["train_images.npy"][:-cut]
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(ValueError, match=r"set\.npz' cannot be read as \.npz of plain arrays \(it ends early\)"):
        load(DataConfig(path=str(path)))


def test_arrays_of_other_kinds_are_what_they_were(in_a_file: Path, tmp_path: Path) -> None:
    """Also those by columns, which are read whole."""
    given = {
        "deep": np.arange(600, dtype=">u2").reshape(3, 10, 20), "names": np.array(["a" * 60, "b"]), "row": np.ones(500),
        "columns": np.asfortranarray(PIXELS), "one": np.float32(3), "none": np.zeros((0, 900), np.uint8),
    }  # fmt: skip
    np.savez(tmp_path / "some.npz", **given)
    found = npz.read_npz(tmp_path / "some.npz", "some")
    assert found.keys() == given.keys()
    for name, array in given.items():
        assert np.array_equal(found[name], array) and found[name].dtype == np.asarray(array).dtype, name


def test_parquet_reads_the_row_groups_that_are_asked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows each: of the kept ones none is in the second and the last."""
    kept = [0, 3, 11, 12, 19]
    split = ["train" if at in kept else "test" for at in range(N)]
    table = pa.table({"image": list(map(png, PIXELS)), "label": [0] * N, "split": split})
    pq.write_table(table, tmp_path / "set.parquet", row_group_size=5)
    read: list[int] = []
    images = Table._images

    def noted(self: Table, part: Any) -> Any:
        found = images(self, part)
        read.append(len(found))
        return found

    monkeypatch.setattr(Table, "_images", noted)
    found = load(DataConfig(path=str(tmp_path / "set.parquet"), labels=False))
    assert np.array_equal(found.train.images_NHWC, PIXELS[kept])
    # The first picture, the training images, the test images.
    assert sum(read) == 5 + 15 + N, read


@pytest.mark.parametrize("reader", [of_files, broken, survey])
def test_large_files_are_held_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Any) -> None:
    """Whatever small pictures they become: none of the counts that are for small ones is reached."""
    monkeypatch.setattr(stored, "HELD_AT_ONCE", 900)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    path, held, lock = in_parquet(tmp_path), [0, 0], threading.Lock()
    images_of, decode = Table.images_of, reader.decode_picture

    def read(self: Table, *given: Any) -> Any:
        for one in images_of(self, *given):
            with lock:
                held[0] += len(one)
                held[1] = max(held)
            yield one

    def decoded(picture: Any, *given: Any, **more: Any) -> np.ndarray:
        with lock:
            held[0] -= len(picture)
        return decode(picture, *given, **more)

    monkeypatch.setattr(Table, "images_of", read)
    monkeypatch.setattr(reader, "decode_picture", decoded)
    if reader is of_files:
        assert (load(DataConfig(path=path, size=8)).train.shape) == (8, 8, 3)
    elif reader is broken:
        source = replace(from_path(path), reading=Reading(skip_broken=1))
        assert not broken.without_broken(source, {"train": np.arange(int(TRAIN.sum()))})[1]
    else:
        assert survey.survey(from_path(path), 4, 3, lambda *_: None).images == N
    largest = max(len(png(one)) for one in PIXELS)
    assert 0 < held[1] <= 4 * (900 + largest) < sum(len(png(one)) for one in PIXELS[TRAIN])


def anonymous() -> float:
    """MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell")
def test_memory_holds_a_few_of_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """86 MiB of pixels, in one row group."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((224, 224, 3), np.uint8)).save(file, "JPEG")
    table = pa.table({"image": [file.getvalue()] * 600, "label": [0] * 600, "split": ["train"] * 599 + ["test"]})
    pq.write_table(table, tmp_path / "set.parquet")
    config = DataConfig(path=str(tmp_path / "set.parquet"))
    monkeypatch.setattr(mapped, "IN_MEMORY", 2**20)
    load(DataConfig(path=config.path, limit=100))  # libraries, and what they keep for themselves
    before, most, ended = anonymous(), [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.005):
            most[0] = max(most[0], anonymous())

    looking = threading.Thread(target=look)
    looking.start()
    found = load(config)
    found.fingerprint()
    ended.set()
    looking.join()
    assert found.train.images_NHWC.nbytes > 85 * 2**20
    assert 0 < most[0] < before + 40, f"{most[0] - before:.0f} MiB more"


@pytest.mark.parametrize("most", [100, 2**28])
def test_images_are_made_black_in_a_copy_wherever_it_lies(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY", most)
    monkeypatch.setattr(mapped, "AT_ONCE", 500)  # two images
    before, places = PIXELS.copy(), np.array([0, 5, 6, N - 1])
    found = blanked(PIXELS, places)
    expected = PIXELS.copy()
    expected[places] = 0
    assert np.array_equal(found, expected) and np.array_equal(PIXELS, before)
