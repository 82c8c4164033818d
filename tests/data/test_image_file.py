"""Which files Pillow is asked to open, and what is said of those that it is not, or that it would cut."""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from raysyn.data.described import described
from raysyn.data.picture import decode_picture
from raysyn.data.reading import Broken, Reading, Unsuited

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8)

TEN_BITS = (
    "c-muNU{FXasVqn=%S>Yc0uY^>nP!-qnV9D5Xy^zOdYzkElE?r7iWw<6MNl?FL1uCZ0~+8f$SlbPvlxL`E;A=T8N_h`@fjhajKV-#0f;p"
    "+GxO5mYNddjR3<1dvCP2GIX@>KY*$uhK~Vva_RcIw&Ii&WnZ*UEQ2RKbSfC)YA`>LQ%*Dk8q<9j`44oSl96&<C$@w`&dC55y3`{`C)&L"
    "X|&n(D=`3dMS7DlFK7Lbc_QxZ#r7`QkrIQHi=F|kcB5)xu^_G)1G1eBa$BPM<=YWD&FHEA?W"
)
"""An AVIF file of 8 x 8 pixels of 10 bits, which Pillow does not write."""


def file(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(COLOUR) if image is None else image).save(buffer, kind, **options)
    return buffer.getvalue()


def png(colours: int, rows: np.ndarray, bits: int = 16, **more: bytes) -> bytes:
    """`rows` (H, W, C), and `more` chunks before the pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    every = np.unpackbits(rows.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    data = b"".join(b"\0" + row.tobytes() for row in np.packbits(every.reshape(height, -1), axis=1))
    parts = [chunk(b"IHDR", head), *(chunk(kind.encode(), one) for kind, one in more.items())]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")])


def jpeg_2000(values: np.ndarray, kind: int, ending: str = "jp2") -> bytes:
    """Whose data say of each value that it is of this kind: bits - 1, and 128 for a sign."""
    buffer = io.BytesIO()
    buffer.name = f"it.{ending}"
    Image.fromarray(values).save(buffer, "JPEG2000")
    found = bytearray(buffer.getvalue())
    at = found.index(b"\xff\x4f\xff\x51") + 42
    for one in range(found[at - 1]):
        found[at + 3 * one] = kind
    return bytes(found)


def planes(values: np.ndarray) -> bytes:
    """A plain TIFF whose colours lie one after the other, each whole."""
    (height, width, colours), bits = values.shape, 8 * values.dtype.itemsize
    size, data = height * width * bits // 8, 8 + 2 + 10 * 12 + 4
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, colours, data), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, colours, data + 2 * colours), (277, 3, 1, colours), (278, 3, 1, height),
        (279, 4, colours, data + 6 * colours), (284, 3, 1, 2),
    ]  # fmt: skip
    begins = [data + 10 * colours + size * at for at in range(colours)]
    more = struct.pack(f"<{colours}H{2 * colours}I", *[bits] * colours, *begins, *[size] * colours)
    head = struct.pack("<2sHIH", b"II", 42, 8, 10) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return head + more + np.ascontiguousarray(values.transpose(2, 0, 1)).astype(f"<u{bits // 8}").tobytes()


def test_planes_of_8_bits_are_read() -> None:
    assert (decode_picture(planes(COLOUR), None) == COLOUR).all()


@pytest.mark.parametrize("kind", ["BMP", "PNG", "PPM", "TIFF", "WEBP", "JPEG2000", "PCX", "TGA", "QOI"])
def test_what_people_hold_is_read(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {kind}")
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert (decode_picture(file(kind, **lossless), None) == COLOUR).all()


FITS = ("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 8", "NAXIS2  = 8", "BZERO   = 32768", "END")
DROPPED = {
    **{kind: partial(file, kind) for kind in ("ICO", "SGI", "DDS", "SPIDER")},
    "FITS": lambda: "".join(f"{card:80}" for card in FITS).ljust(2880).encode() + bytes(2880),
}


@pytest.mark.parametrize("kind", DROPPED)
def test_what_pillow_would_read_and_lose_something_of_is_named(kind: str) -> None:
    Image.init()
    with pytest.raises(ValueError, match=rf"^it is {kind}, which is not read: save it as PNG$"):
        decode_picture(DROPPED[kind](), None)


def test_no_program_is_started_for_what_a_file_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[Any]()
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "check_call", lambda *given, **_: started.append(given))
    with pytest.raises(ValueError, match=r"^it is EPS, which is not read: save it as PNG$"):
        decode_picture(file("EPS"), None)
    assert not started


GREY = COLOUR[..., 0]
LOSING = {
    "colour of 16 bits": (jpeg_2000(COLOUR, 15), "JPEG 2000 of 16 bits, "),
    "colour of 9 bits": (jpeg_2000(COLOUR, 8, "j2k"), "JPEG 2000 of 9 bits, "),
    "colour with a sign": (jpeg_2000(COLOUR, 128 + 7), "JPEG 2000 of values with a sign, "),
    "grey of 8 bits with a sign": (jpeg_2000(GREY, 128 + 7, "j2k"), "JPEG 2000 of values with a sign, "),
    "grey of 4 bits": (jpeg_2000(GREY, 3), "JPEG 2000 of 4 bits, "),
    "grey of 20 bits": (jpeg_2000(GREY.astype(np.uint16), 19), "JPEG 2000 of 20 bits, "),
    "TIFF of deep planes": (planes(COLOUR.astype(np.uint16) * 257), "a TIFF of planes deeper than 8 bits: save it"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "HEIC, as telephones write it, which is not read: "),
    "AVIF of 10 bits": (zlib.decompress(base64.b85decode(TEN_BITS)), "AVIF deeper than 8 bits: save it as 8-bit PNG$"),
    "TIFF of 8 bits with a sign": (
        file("TIFF", Image.fromarray(GREY), tiffinfo={339: 2}), "a TIFF of 8 bits with a sign: save it without, or in"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOSING)
def test_what_pillow_would_change_in_silence_is_refused(kind: str) -> None:
    one, words = LOSING[kind]
    for reading in (Reading(), Reading(window=(0, 4095))):
        with pytest.raises(Unsuited, match=f"^it is {words}"):
            decode_picture(one, None, reading=reading)


@pytest.mark.parametrize("left", [-4, 2])
def test_jpeg_2000_that_is_cut_off_is_said_to_be_so(left: int) -> None:
    whole = jpeg_2000(GREY, 7)
    with pytest.raises(Broken, match=r"^it is JPEG 2000 that is cut off: bring it anew$"):
        decode_picture(whole[: whole.index(b"\xff\x4f\xff\x51") + left], None)


@pytest.mark.parametrize("ending", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize("sign", [False, True])
def test_grey_jpeg_2000_is_read_in_its_own_units(bits: int, sign: bool, ending: str) -> None:
    values = RNG.integers(0, 2**bits, (16, 16)) - (2 ** (bits - 1) if sign else 0)
    # The decoder adds half of what the data say; this encoder has taken half of 16 bits.
    moved = (values + 2**15 - (0 if sign else 2 ** (bits - 1))).astype(np.uint16)
    one = jpeg_2000(moved, bits - 1 + 128 * sign, ending)
    assert described(one).span == (values.min(), values.max())
    low, high = int(values.min()), int(values.max())
    found = decode_picture(one, None, reading=Reading(window=(low, high)))[..., 0]
    assert (found == np.rint((values - low) / (high - low) * 255)).all()


@pytest.mark.parametrize("most", [1023, 4095, 65535])
def test_deep_colour_of_ppm_is_scaled_and_told(most: int) -> None:
    values = RNG.integers(0, most + 1, (8, 12, 3)).astype(">u2")
    reading = Reading()
    found = decode_picture(b"P6 12 8 %d\n" % most + values.tobytes(), None, reading=reading)
    assert (np.abs(found - values / most * 255) <= 0.5).all()
    assert reading.told() == "1 in colour deeper than 8 bits cut to 8"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colours", [1, 3])
def test_a_colour_of_a_png_that_shows_through_is_seen(bits: int, colours: int) -> None:
    """Not only where it is of 8 bits."""
    if colours == 3 and bits < 8:
        bits = {1: 8, 2: 8, 4: 16}[bits]
    rows = RNG.integers(0, 2**bits, (8, 12, colours))
    clear = (rows == rows[0, 0]).all(axis=2)
    one = png(0 if colours == 1 else 2, rows, bits, tRNS=rows[0, 0].astype(">u2").tobytes())
    with pytest.raises(Unsuited, match=r"transparency|a colour that shows through"):
        decode_picture(one, None)
    if bits == 16:
        with pytest.raises(Unsuited, match=r"transparency|a colour that shows through"):
            decode_picture(one, None, reading=Reading(window=(0, 9)) if colours == 1 else Reading(background="white"))
        return
    found = decode_picture(one, None, reading=Reading(background="#ffffff"))
    plain = rows * 255 // (2**bits - 1)
    assert (found == np.where(clear[..., None], 255, plain)).all()


def test_a_tiff_that_is_not_read_is_not_said_to_be_damaged() -> None:
    grey = file("TIFF", Image.fromarray(RNG.integers(0, 4096, (16, 16), dtype=np.uint16)))
    odd = grey.replace(struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 17))
    assert odd != grey
    with pytest.raises(ValueError, match=r"^it is a TIFF of a kind that is not read: save it as plain grey or RGB$"):
        decode_picture(odd, None)


def many(values: int, colours: int, extra: tuple[int, ...]) -> bytes:
    """A TIFF of 8 bits, with so many values a pixel: 1 or 3 `colours`, and what is said of the others."""
    at = 8 + 2 + 11 * 12 + 4
    kinds = ((258, (8,) * values), (338, extra))
    more, words = b"", dict[int, bytes]()
    for tag, found in kinds:
        packed = struct.pack(f"<{len(found)}H", *found)
        words[tag] = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", at + len(more))
        more += packed if len(packed) > 4 else b""
    plain = {256: 4, 257: 4, 259: 1, 262: 1 if colours == 1 else 2, 273: at + len(more), 277: values, 278: 4,
             279: 16 * values, 284: 1}  # fmt: skip
    words |= {tag: struct.pack("<I", value) for tag, value in plain.items()}
    counts = {258: values, 338: len(extra)}
    tags = [
        struct.pack("<HHI", tag, 4 if tag in (273, 279) else 3, counts.get(tag, 1)) + words[tag]
        for tag in sorted(words)
    ]  # fmt: skip
    return struct.pack("<2sHIH", b"II", 42, 8, 11) + b"".join(tags) + bytes(4) + more + bytes(range(16)) * values


@pytest.mark.parametrize(("values", "colours", "extra"), [
    (2, 1, (0,)), (4, 3, (0,)), (5, 3, (0, 0)), (5, 3, (1, 0)), (5, 3, (2, 0)), (6, 3, (0, 0, 0)),
])  # fmt: skip
def test_no_value_of_a_pixel_is_dropped_without_a_word(values: int, colours: int, extra: tuple[int, ...]) -> None:
    dropped = len(extra) - any(extra)
    with pytest.raises(Unsuited, match=rf"^it is a TIFF of {values} values a pixel, of which {dropped} "):
        decode_picture(many(values, colours, extra), None, reading=Reading(background="white"))


@pytest.mark.parametrize(("values", "colours"), [(2, 1), (4, 3)])
def test_what_is_said_to_show_through_is_no_value_too_many(values: int, colours: int) -> None:
    found = decode_picture(many(values, colours, (2,)), None, reading=Reading(background="white"))
    assert found.shape == (4, 4, colours)


def test_16_bits_are_cut_of_colours_alone_and_it_is_told() -> None:
    values = RNG.integers(0, 2**16, (8, 12, 3), dtype=np.uint16)
    reading = Reading()
    assert (decode_picture(png(2, values), None, reading=reading) == values >> 8).all()
    assert reading.told() == "1 in colour deeper than 8 bits cut to 8"
    grey = np.dstack([values[..., 0], np.full((8, 12), 2**16 - 1)])
    for reading in (Reading(), Reading(window=(0, 4095)), Reading(background="white")):
        with pytest.raises(ValueError, match=r"^it is grey of 16 bits with an alpha channel: save it without"):
            decode_picture(png(4, grey), None, reading=reading)


def test_a_picture_of_too_many_pixels_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"^it has more pixels than are read: save a smaller picture$"):
        decode_picture(file("PNG"), None)


def test_a_clear_colour_that_no_pixel_has_is_none() -> None:
    palette = Image.fromarray(COLOUR).convert("P", palette=Image.Palette.ADAPTIVE, colors=9)
    for image, clear in ((palette, 200), (Image.fromarray(COLOUR[..., 0] // 2), 255)):
        reading = Reading(background="white")
        found = decode_picture(file("PNG", image, transparency=clear), None, reading=reading)
        assert (found == np.asarray(image.convert("RGB"))[..., : found.shape[2]]).all() and not reading.told()
        assert (decode_picture(file("PNG", image, transparency=clear), None) == found).all()


def damaged_tags(*more: bytes) -> bytes:
    """A TIFF whose tag of its width says two numbers, with `more` entries behind its tags."""
    whole = file("TIFF", Image.fromarray(COLOUR[..., 0]))
    (at,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, at)
    tags = struct.pack("<HHIHH", 256, 3, 2, 16, 16) + whole[at + 14 : at + 2 + 12 * count] + b"".join(more)
    return whole[:4] + struct.pack("<I", len(whole)) + whole[8:] + struct.pack("<H", count + len(more)) + tags


def test_what_pillow_warns_of_is_not_printed(tmp_path: Path) -> None:
    """Nobody could tell of which file it is. In a process of its own, since tests have filters of theirs."""
    behind = struct.pack("<HHII", 40_000, 2, 999, 2**31)
    for name, content in (
        ("0.png", file("PNG", Image.new("1", (10_000, 9_000)))), ("1.tif", damaged_tags() + bytes(4)),
        ("2.tif", damaged_tags()), ("3.tif", damaged_tags(behind) + bytes(4)),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    code = f"""
import warnings, pathlib
from raysyn.data.picture import decode_picture
for one in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):
    print(decode_picture(one, 8).shape)
warnings.warn("heard")
"""
    ran = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.count("(8, 8, 1)") == 4 and ran.stderr.count("Warning") == 1 and "heard" in ran.stderr
