"""JPEG files that were cut off are broken, though decoders fill them in silence; whole ones with more behind stay."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.picture import decode_picture
from raysyn.data.public import load_public
from raysyn.data.reading import Broken
from raysyn.data.streams import PublicConfig

END = b"\xff\xd9"
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fine": {"quality": 98, "subsampling": 0},
    "its own codes": {"optimize": True},
    "in rows": {"restart_marker_rows": 1},
    "with a preview": {"exif": b"Exif\0\0" + bytes(20) + END + bytes(20)},
}
NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
GREY_BELOW = np.vstack([NOISE[:20], np.full((20, 40, 3), 128, np.uint8)])


def jpeg(pixels: np.ndarray, mode: str = "RGB", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def damaged(whole: bytes) -> dict[str, bytes]:
    half = whole[: len(whole) * 2 // 3]
    return {
        "zeros to its end": half + bytes(len(whole) - len(half)),
        "zeros beyond its end": half + bytes(9 * len(whole)),
        "zeros to a block": whole[:-40] + bytes(4096),
        "ended early": half + END,
        "ended early, and more": half + END + bytes(999),
    }


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_off_and_filled_is_broken(kind: str, mode: str) -> None:
    for how, content in damaged(jpeg(NOISE, mode, **KINDS[kind])).items():
        # Of what does not end at all the decoder may be the first to say so.
        early = how.startswith("ended early")
        with pytest.raises(Broken if early else (Broken, OSError), match=r"cut off: bring it anew$|truncated"):
            decode_picture(content, None)
            pytest.fail(how)


def cut_between_scans(whole: bytes) -> list[bytes]:
    """A progressive file ended after each of its scans but the last."""
    at, places = 2, list[int]()
    while (name := whole[at : at + 2]) != END:
        at += 2 + int.from_bytes(whole[at + 2 : at + 4])
        if name == b"\xff\xda":
            while whole[at] != 255 or whole[at + 1] in (0, *range(0xD0, 0xD8)):
                at += 1
            places.append(at)
    return [whole[:place] + END for place in places[:-1]]


@pytest.mark.parametrize("pixels", [NOISE, NOISE // 8, GREY_BELOW], ids=["noise", "dark", "below"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_one_is_broken_wherever_it_ends(mode: str, pixels: np.ndarray) -> None:
    whole = jpeg(pixels, mode, progressive=True, exif=b"Exif\0\0" + bytes(20) + END + bytes(20))
    cuts = cut_between_scans(whole)
    assert len(cuts) == {"L": 5, "RGB": 9}[mode]
    # In the midst of a scan, too, early and late.
    cuts += [whole[: len(whole) * tenths // 10] + END for tenths in (4, 6, 8, 9)]
    for content in [*cuts, *(cut + bytes(999) for cut in cuts)]:
        told = r"cut off: bring it anew(, or save it once more if it was made so)?$|truncated|broken"
        with pytest.raises((Broken, OSError), match=told):
            decode_picture(content, None)
            pytest.fail(f"{len(content)} of {len(whole)}")
    # Of few scans by intent it is read once it is saved as it shows.
    for coarse in cut_between_scans(whole):
        with pytest.raises(Broken, match=r"save it once more if it was made so$"):
            decode_picture(coarse, None)
        shown = np.asarray(Image.open(io.BytesIO(coarse)))
        assert decode_picture(jpeg(shown, mode, progressive=True), None).shape[:2] == pixels.shape[:2]


@pytest.mark.parametrize("kind", [*KINDS, "progressive"])
@pytest.mark.parametrize("pixels", [NOISE, GREY_BELOW, GREY_BELOW[-9:]], ids=["noise", "below", "grey"])
def test_what_is_whole_is_read_whatever_is_behind_it(kind: str, pixels: np.ndarray) -> None:
    for mode in ("L", "RGB"):
        whole = jpeg(pixels, mode, **KINDS.get(kind, {"progressive": True}))
        shown = np.asarray(Image.open(io.BytesIO(whole))).reshape(*pixels.shape[:2], -1)
        for behind in (b"", bytes(4096), b"a camera's own words", b"\xff" * 9, jpeg(NOISE)):
            assert np.array_equal(decode_picture(whole + behind, None), shown)
    several = io.BytesIO()
    Image.fromarray(pixels).save(several, "MPO", save_all=True, append_images=[Image.fromarray(NOISE)])
    assert decode_picture(several.getvalue() + bytes(99), None).shape == pixels.shape


def test_it_is_named_and_left_out_as_any_broken_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for at in range(3):
            there = tmp_path / "set" / split / "ant" / f"{at}.jpg"
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(jpeg(NOISE))
    (tmp_path / "set/train/ant/1.jpg").write_bytes(damaged(jpeg(NOISE, quality=98))["zeros beyond its end"])
    path = str(tmp_path / "set")
    said = r"file train/ant/1\.jpg cannot be used: it is JPEG that is cut off: bring it anew, or leave such out with --"
    with pytest.raises(ValueError, match=rf"^data\.path='.*': {said}data\.skip-broken 1 \("):
        load(DataConfig(path=path))
    with pytest.raises(ValueError, match=rf"^public\.path='.*': {said}public\.skip-broken 1 \("):
        load_public(PublicConfig(path=(path,)), (40, 40, 3))
    assert len(load(DataConfig(path=path, skip_broken=1)).train) == 2
    assert len(load_public(PublicConfig(path=(path,), skip_broken=1), (40, 40, 3)).train) == 2
