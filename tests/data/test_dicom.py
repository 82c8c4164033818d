"""DICOM files are read by their window or a user's; nothing that a tag says is kept or told."""

from __future__ import annotations

import io
import sys
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import both_readers
import numpy as np
import pydicom
import pytest
from both_readers import Read, privately
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from raysyn.data.images import DataConfig, load
from raysyn.data.picture import decode_picture, opened
from raysyn.data.reading import BURNT_IN, Reading
from raysyn.looking import Flags, look

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 4096, (8, 12), dtype=np.uint16)
SECRET = "Ringelnatz"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def scan(
    pixels: np.ndarray = STORED, syntax: Any = ExplicitVRLittleEndian, raw: bytes | None = None, **tags: Any
) -> bytes:
    """A file with a person's name in it; tags that are None are left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    meta.TransferSyntaxUID = syntax
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    colours, bits = pixels.ndim == 3, 8 * pixels.dtype.itemsize
    about = {
        "PatientName": SECRET, "PatientID": SECRET, "InstitutionName": SECRET, "StudyDescription": SECRET,
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2", "BitsAllocated": bits, "BitsStored": bits,
        "HighBit": bits - 1, "PixelRepresentation": int(pixels.dtype.kind == "i"), "WindowCenter": 1000,
        "WindowWidth": 800, "BurnedInAnnotation": "YES",
    }  # fmt: skip
    about |= {"PlanarConfiguration": 0, "WindowCenter": None, "WindowWidth": None} if colours else {}
    for name, value in (about | tags).items():
        if value is not None:
            setattr(made, name, value)
    made.PixelData = pixels.tobytes() if raw is None else raw
    made["PixelData"].VR = "OW" if bits > 8 else "OB"
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def palette(table: np.ndarray, pixels: np.ndarray) -> bytes:
    """Of colours (3, colours), said as 16 bits."""
    names = [f"{name}PaletteColorLookupTable" for name in ("Red", "Green", "Blue")]
    tags: dict[str, Any] = {f"{name}Descriptor": [table.shape[1], 0, 16] for name in names}
    tags |= {f"{name}Data": (row * 257).astype("<u2").tobytes() for name, row in zip(names, table, strict=True)}
    return scan(pixels, PhotometricInterpretation="PALETTE COLOR", WindowCenter=None, WindowWidth=None, **tags)


folder = partial(both_readers.folder, ending=".dcm")
publicly = both_readers.publicly((8, 12, 1))
both = both_readers.both(publicly)


def by_standard(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3, C.11.2.1.2.1, from 0 to 255."""
    scaled = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    scaled = np.where(values <= centre - 0.5 - (width - 1) / 2, 0, scaled)
    return np.rint(np.where(values > centre - 0.5 + (width - 1) / 2, 255, scaled))


SIGNED = STORED.astype(np.int16) - 2048
WINDOWED = {
    "as it is": (scan(), by_standard(STORED, 1000, 800)),
    "implicit": (scan(syntax=ImplicitVRLittleEndian), by_standard(STORED, 1000, 800)),
    "several windows": (scan(WindowCenter=[900, 40], WindowWidth=[300, 80]), by_standard(STORED, 900, 300)),
    "rescaled": (
        scan(RescaleSlope="0.5", RescaleIntercept="-1024", WindowCenter=-200),
        by_standard(STORED * 0.5 - 1024, -200, 800),
    ),
    "signed": (scan(SIGNED, WindowCenter=40, WindowWidth=350.5), by_standard(SIGNED, 40, 350.5)),
    "inverted": (scan(PhotometricInterpretation="MONOCHROME1"), 255 - by_standard(STORED, 1000, 800)),
    "exact": (
        scan(VOILUTFunction="LINEAR_EXACT"),
        np.rint(np.clip((STORED - 600.0) / 800 * 255, 0, 255)),
    ),
    "8 bits without a window": (
        scan(STORED.astype(np.uint8), WindowCenter=None, WindowWidth=None, RescaleSlope=1, RescaleIntercept=0),
        STORED.astype(np.uint8),
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("kind", WINDOWED)
def test_the_window_of_the_file_is_taken_as_the_standard_says(tmp_path: Path, kind: str, read: Read) -> None:
    file, expected = WINDOWED[kind]
    found = read(folder(tmp_path, file)).images_NHWC[:][0, ..., 0]
    assert (np.abs(found - expected) <= (0.5 if kind == "exact" else 0)).all()


@both
def test_a_window_that_is_said_is_in_the_units_of_the_file_and_for_all(tmp_path: Path, read: Read) -> None:
    files = [scan(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=center) for center in (None, 7)]
    path = folder(tmp_path, *files, scan(PhotometricInterpretation="MONOCHROME1", WindowWidth=None))
    with pytest.raises(
        ValueError, match=r"0\.dcm cannot be used: it is a DICOM file that names no window: .*window LOW"
    ):
        read(path)
    found = read(path, window=(-1000, 3000)).images_NHWC[:][..., 0]
    expected = np.rint(np.clip(STORED.astype(float) * 2 / 4000 * 255, 0, 255))
    assert (found[0] == expected).all() and (found[1] == expected).all()
    assert (found[2] == 255 - np.rint(np.clip((STORED + 1000.0) / 4000 * 255, 0, 255))).all()


@pytest.mark.parametrize("high", [11, 0, None])
def test_values_that_fill_their_words_lie_where_they_must(high: int | None) -> None:
    one = scan(STORED, HighBit=high)
    assert (decode_picture(one, None) == decode_picture(scan(STORED), None)).all()


def test_colours_and_palettes_are_read_as_they_are() -> None:
    colour = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
    assert (decode_picture(scan(colour), None) == colour).all()
    planes = scan(colour, raw=colour.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1)
    assert (decode_picture(planes, None) == colour).all()
    numbers = RNG.integers(0, 4, (8, 12), dtype=np.uint8)
    table = np.array([[0, 9, 80, 255], [1, 2, 3, 4], [7, 0, 0, 9]])
    assert (decode_picture(palette(table, numbers), None) == table[:, numbers].transpose(1, 2, 0)).all()
    with pytest.raises(ValueError, match=r"of colours, which --data\.window is not for"):
        opened(scan(colour), Reading(window=(0, 9)))


def test_a_palette_of_greys_is_grey_unless_the_first_is_colour(tmp_path: Path) -> None:
    numbers = RNG.integers(0, 4, (8, 12), dtype=np.uint8)
    greys = np.array([[0, 9, 80, 255]] * 3)
    one, colour = palette(greys, numbers), scan(np.stack([numbers, numbers * 2, numbers], axis=2))
    assert (privately(folder(tmp_path, one)).images_NHWC[0, ..., 0] == greys[0][numbers]).all()
    path = folder(tmp_path, colour, one)
    found = privately(path).images_NHWC
    assert found.shape == (2, 8, 12, 3) and (found[1] == greys[0][numbers][..., None]).all()
    assert "P (grey)" in " ".join(look(str(path), Flags(sheet=str(tmp_path / "sheet.png"))))


def test_rle_is_decoded() -> None:
    found = pydicom.dcmread(io.BytesIO(scan()))
    found.compress(RLELossless)
    buffer = io.BytesIO()
    found.save_as(buffer)
    assert (decode_picture(buffer.getvalue(), None)[..., 0] == by_standard(STORED, 1000, 800)).all()


def deflated() -> bytes:
    made, buffer = pydicom.dcmread(io.BytesIO(scan())), io.BytesIO()
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(buffer)
    return buffer.getvalue()


def of_floats(last: float) -> bytes:
    """STORED as floats; there are then no tags of stored bits and sign."""
    made, buffer, floats = pydicom.dcmread(io.BytesIO(scan())), io.BytesIO(), STORED.astype("<f4")
    floats[-1, -1] = last
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, name)
    made.BitsAllocated, made.FloatPixelData = 32, floats.tobytes()
    made.save_as(buffer)
    return buffer.getvalue()


def test_floats_are_read_with_and_without_a_window_of_the_file() -> None:
    assert (decode_picture(of_floats(5), None)[:-1, :, 0] == by_standard(STORED, 1000, 800)[:-1]).all()
    none = pydicom.dcmread(io.BytesIO(of_floats(5)))
    del none.WindowCenter
    buffer = io.BytesIO()
    none.save_as(buffer)
    with pytest.raises(ValueError, match="that names no window: say which"):
        decode_picture(buffer.getvalue(), None)
    assert decode_picture(buffer.getvalue(), None, None, Reading(window=(4.9, 5.1)))[-1, -1, 0] == 128


REFUSED = {
    "frames": (scan(np.stack([STORED] * 2).reshape(16, 12), Rows=8, NumberOfFrames=2), "of several frames: save those"),
    "compressed": (
        scan(syntax=JPEGLSLossless, raw=pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7" + bytes(60)])),
        "compressed in a way that is not read here: save it uncompressed",
    ),
    "compressed and damaged": (
        scan(syntax=RLELossless, raw=pydicom.encaps.encapsulate([b"\x05" + bytes(90)])),
        "compressed in a way that is not read here, or damaged: save it uncompressed",
    ),
    "no pixels": (scan(raw=b""), "damaged: bring it anew"),
    "few pixels": (scan(Rows=9), "damaged: bring it anew"),
    "many pixels": (scan(Rows=65535, Columns=65535), "of more pixels than are read"),
    "curved": (scan(VOILUTFunction="SIGMOID"), "whose window is no straight line: say which values matter"),
    "empty window": (scan(WindowWidth=1), "whose window is empty: say"),
    "no window": (scan(WindowWidth=None), "that names no window: say"),
    "deep colours": (scan(np.stack([STORED] * 3, axis=2)), "of colours that are not of 8 bits: save it as"),
    "shallow colours": (
        scan(np.zeros((8, 12, 3), np.uint8), BitsStored=6, HighBit=5), "of colours that are not of 8 bits: save it as"
    ),
    "partial colours": (
        scan(np.zeros((8, 12, 3), np.uint8), PhotometricInterpretation="YBR_PARTIAL_420"), "of another kind of colour"
    ),
    "three greys": (
        scan(np.zeros((8, 12, 3), np.uint8), PhotometricInterpretation="MONOCHROME2"), "of another kind of colour"
    ),
    "the upper bits": (scan(STORED << 4, BitsStored=12), r"not in the lower bits \(HighBit is .*: save it anew"),
    "the middle bits": (scan(STORED << 2, BitsStored=12, HighBit=13), "not in the lower bits"),
    "the upper bits of colours": (scan(np.zeros((8, 12, 3), np.uint8), BitsStored=6), "not in the lower bits"),
    "more bits than there is room for": (scan(BitsStored=17, HighBit=16), "damaged: bring it anew"),
    "a palette with a sign": (
        palette(np.array([[0, 9]] * 3), pixels=RNG.integers(-1, 1, (8, 12), dtype=np.int8)),
        "with a palette and numbers with a sign: save it as",
    ),
    "other colours": (scan(PhotometricInterpretation="HSV"), "of another kind of colour: save it"),
    "a header alone": (b"\0" * 128 + b"DICM", "without a picture, or damaged: bring it anew"),
    "a slope of letters": (scan(RescaleSlope="1.25", RescaleIntercept=0).replace(b"1.25", b"Ring"), "damaged: bring"),
    "a slope alone": (scan(RescaleSlope=2), "a rescale slope and no intercept, or the reverse: mend"),
    "a table": (
        scan(
            STORED.astype(np.uint8), WindowCenter=None, WindowWidth=None,
            VOILUTSequence=pydicom.Sequence([pydicom.Dataset()]),
        ),
        "whose values become grey by a table: say which",
    ),
    "a palette of 8 bits": (
        scan(
            STORED.astype(np.uint8) % 4, PhotometricInterpretation="PALETTE COLOR",
            **{f"{name}PaletteColorLookupTableDescriptor": [4, 0, 16] for name in ("Red", "Green", "Blue")},
            **{f"{name}PaletteColorLookupTableData": b"\1\0\xff\0" * 2 for name in ("Red", "Green", "Blue")},
        ),
        "whose palette is of 8 bits and says 16: save",
    ),
    "deflated": (deflated(), "deflated as a whole, which is not read: save it uncompressed"),
    "no numbers": (of_floats(np.nan), r"of which some values are no numbers \(NaN or infinite\): mend them"),
    "noise": (b"\0" * 128 + b"DICM" + b"\7" * 99, "DICOM file "),
}  # fmt: skip


@both
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_in_one_sentence_without_a_tag(tmp_path: Path, kind: str, read: Read) -> None:
    file, words = REFUSED[kind]
    with pytest.raises(ValueError, match=rf"file train/a/0\.dcm cannot be used: .*{words}") as caught:
        read(folder(tmp_path, file))
    assert "\n" not in str(caught.value) and SECRET not in str(caught.value)


@both
def test_without_pydicom_the_extra_is_named(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r"cannot be used: .* pydicom is not here: pip install 'raysyn\[dicom\]'$"):
        read(folder(tmp_path, scan()))


def test_wherever_a_file_lies_and_whatever_it_is_called(tmp_path: Path) -> None:
    expected = by_standard(STORED, 1000, 800)
    assert (privately(folder(tmp_path, scan(), scan(), ending="")).images_NHWC[..., 0] == expected).all()
    table = [f"set/{split}/a/{number},{split}" for split in ("train", "test") for number in (0, 1)]
    (tmp_path / "table.csv").write_text("\n".join(["path,split,label", *(f"{row},1{row[4]}" for row in table)]))
    assert (privately(tmp_path / "table.csv").images_NHWC[..., 0] == expected).all()
    for split in ("train", "test"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as archive:
            for name, content in (("0.dcm", scan()), ("0.cls", b"0")):
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    (tmp_path / "tars").mkdir()
    for one in tmp_path.glob("*.tar"):
        one.rename(tmp_path / "tars" / one.name)
    assert (privately(tmp_path / "tars").images_NHWC[..., 0] == expected).all()


def test_it_is_told_and_warned_of_and_no_tag_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    odd = scan(PatientAge="045Y", VOILUTFunction="LINEAR").replace(b"045Y", b"old!")
    path = folder(tmp_path, scan(), odd)
    dataset = load(DataConfig(path=str(path)))
    assert "; 4 DICOM files, of whose tags none is kept; 4 scaled to 0 to 255 by the window that the fi" in dataset.told
    assert dataset.warned == (BURNT_IN,)
    publicly(path)
    page = tmp_path / "page.html"
    lines = look(str(path), Flags(sheet=str(tmp_path / "sheet.png"), html=str(page)))
    said = " ".join(" ".join(lines).split())
    assert "Windows of DICOM files: values that become 0 and 255 images 600 to 1399 4" in said
    least, most = STORED.min(), STORED.max()
    assert f"Values of DICOM grey lie from {least:,} to {most:,}. Both are of private images" in said
    assert BURNT_IN in said
    out = capfd.readouterr()
    everything = "".join([*lines, page.read_text(), out.out, out.err, dataset.told])
    assert SECRET not in everything and "old!" not in everything and out.err.count(BURNT_IN) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(132, 900), st.binary(min_size=1, max_size=4), st.booleans())
def test_damage_gives_a_picture_or_one_sentence(at: int, change: bytes, cut: bool) -> None:
    good = scan()
    bad = good[:at] if cut else good[:at] + change + good[at + len(change) :]
    try:
        assert decode_picture(bad, None).dtype == np.uint8
    except ValueError as error:
        assert "\n" not in str(error) and str(error).startswith("it is a DICOM file") and SECRET not in str(error)
