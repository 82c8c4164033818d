"""Paths that lead to no images, and .npz files that hold no arrays: each costs a sentence, not a trace."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysyn.data.images import DataConfig, load
from raysyn.data.public import load_beside, load_public
from raysyn.data.sources import check_given
from raysyn.data.streams import PublicConfig

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def privately(path: str) -> None:
    load(DataConfig(path=path))


def publicly(path: str) -> None:
    load_public(PublicConfig(path=(path,)), (8, 8, 1))


Read = Callable[[str], None]
both = pytest.mark.parametrize("read", [privately, publicly])


def refused(read: Read, path: str, words: str) -> None:
    group = "data" if read is privately else "public"
    with pytest.raises(ValueError, match=rf"(?s)^{group}\.path={path!r}:? {words}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("~nosuchuser/x.npz", "begins in ~ and the name of no user here; give the whole path"),
        ("x" * 300, r"cannot be reached \(File name too long\); mend the path"),
        (os.devnull, "is no file and no folder, but a pipe, socket or device; give a file"),
        ("data.npz", r"does not exist; check the spelling, or use (data|public)\.name"),
    ],
)
def test_what_leads_to_nothing_is_refused(read: Read, given: str, words: str) -> None:
    refused(read, given, words)


def test_a_home_of_nobody_is_refused_before_it_is_compared() -> None:
    images = load(DataConfig(limit=100)).train
    with pytest.raises(ValueError, match=r"^public\.path='~nosuchuser/x' begins in ~"):
        load_beside(DataConfig(path="x"), images, PublicConfig(path=("~nosuchuser/x",)), 0)


def test_a_place_that_may_not_be_reached_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(ValueError, match=r"^here cannot be reached \(Permission denied\); mend the path, or its perm"):
        check_given("secret/x", "here")


def npz(path: Path, change: Callable[[str, bytes], bytes] = lambda _, content: content) -> bytes:
    """A good file, but for what `change` makes of its members."""
    good = io.BytesIO()
    np.savez(
        good, train_images=PIXELS, train_labels=LABELS, test_images=PIXELS, test_labels=LABELS, class_names=["a", "b"]
    )
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path.read_bytes()


def marked(content: bytes, local: int, central: int, value: int) -> bytes:
    """With a byte of each member's two headers set."""
    raw = bytearray(content)
    for mark, at in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        begin = raw.find(mark)
        while begin >= 0:
            raw[begin + at] = value
            begin = raw.find(mark, begin + 4)
    return bytes(raw)


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


NPZ: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "encrypted": (lambda path: marked(npz(path), 6, 8, 1), r"cannot be read as \.npz of .* \(.* is encrypted"),
    "packed otherwise": (lambda path: marked(npz(path), 8, 10, 9), r"cannot be read as .*method is not supported"),
    "no array": (
        lambda path: npz(path, lambda name, old: b"hello" if name == "train_images.npy" else old),
        r"train_images is no array as numpy\.save writes it; write it anew",
    ),
    "names no array": (
        lambda path: npz(path, lambda name, old: b"hello" if name == "class_names.npy" else old),
        "class_names is no array as numpy",
    ),
    "909 TiB": (
        lambda path: npz(path, lambda name, old: header((10**9, 1000, 1000)) if name == "train_images.npy" else old),
        r"cannot be read as \.npz of plain arrays \(Unable to allocate 909",
    ),
    "no zip": (lambda path: b"PKno", r"cannot be read as \.npz of plain arrays \(no zip archive\)"),
}  # fmt: skip


@both
@pytest.mark.parametrize("kind", NPZ)
def test_npz_files_that_hold_no_arrays_are_refused(tmp_path: Path, read: Read, kind: str) -> None:
    make, words = NPZ[kind]
    path = tmp_path / "set.npz"
    path.write_bytes(make(path))
    refused(read, str(path), words)


UNPACKED = NPZ | {
    "no array": (NPZ["no array"][0], r"cannot be read as \.npz of plain arrays \(EOF: reading magic string"),
    "names no array": (NPZ["names no array"][0], r"cannot be read as \.npz .* \(EOF: reading magic string"),
    "909 TiB": (NPZ["909 TiB"][0], r"cannot be read as \.npz of plain arrays \(it ends early\)"),
    "too long": (
        lambda path: npz(path, lambda name, old: old + b"x" * (name == "train_images.npy")),
        r"cannot be read as \.npz of plain arrays \(it is longer than it says\)",
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("kind", UNPACKED)
def test_so_are_those_that_are_unpacked_into_a_file(
    tmp_path: Path, read: Read, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before there is room for what a header says."""
    monkeypatch.setattr("raysyn.data.npz.IN_MEMORY", 0)
    make, words = UNPACKED[kind]
    path = tmp_path / "set.npz"
    path.write_bytes(make(path))
    refused(read, str(path), words)
    assert "TMPDIR" not in capsys.readouterr().err


@both
def test_an_npz_file_that_may_not_be_read_says_so(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    npz(path := tmp_path / "data.npz")
    opened = Path.open

    def denied(self: Path, *given: object, **more: object) -> object:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(self, *given, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)
    refused(
        read, str(path), r"cannot be read as \.npz of plain arrays \(\[Errno 13\] Permission denied: '.*/data\.npz'\)"
    )


def test_what_was_decoded_of_an_npz_file_is_of_how_it_is_read_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raysyn.data import streams

    npz(path := tmp_path / "set.npz")
    before = streams.Stream.of(PublicConfig(path=(str(path),))).identity
    monkeypatch.setattr(streams, "READ_AS", "otherwise")
    assert streams.Stream.of(PublicConfig(path=(str(path),))).identity != before
