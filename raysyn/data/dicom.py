"""DICOM files: their pixels by the window that the file names, or a user. No tag is kept, and none is in a message.

Needs pydicom: `pip install raysyn[dicom]`.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np

from raysyn.data.deep import to_8_bits
from raysyn.data.reading import DICOM, Broken, Reading, Unsuited, of_the_machine

BEGIN = 132
"""Bytes up to the letters that every file has at their end."""
WANTED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData"),
    *("DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor"),
    *("BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData"),
    *("BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData"),
    *("SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData"),
)
"""What of a file is read at all: what its pixels are made of."""
MOST_PIXELS = 2 * 89_478_485
"""Of one picture, as of Pillow's."""
DEFLATED, HEAD = b"1.2.840.10008.1.2.1.99", 2048
"""What such a file is said to be, and the bytes in which that is said."""
WITHOUT = "it is a DICOM file without a picture, or damaged: bring it anew, or remove it"
DAMAGED = "it is a DICOM file that is damaged: bring it anew"
PALETTE = "PALETTE COLOR"
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Those that pydicom gives as RGB."""
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Scan:
    """One file, read."""

    values: np.ndarray
    """(H, W) in the units of the file, or uint8 (H, W, 3)."""
    window: tuple[float, float] | None
    """What is black and white; None for colours, and where the file names none."""
    unnamed: str
    """Why it is None."""
    inverted: bool
    """Whether small values are light."""
    palette: bool = False
    """Whether its values in the file are numbers of colours."""


def is_dicom(begin: bytes) -> bool:
    """Whether a file that begins so says that it is one."""
    return begin[128:BEGIN] == b"DICM"


def has_palette(file: BinaryIO) -> bool:
    """Whether the values of a file that was read before are numbers of colours."""
    import pydicom

    with _quietly():
        found: Any = pydicom.dcmread(file, specific_tags=["PhotometricInterpretation"], stop_before_pixels=True)
        return str(found.get("PhotometricInterpretation")) == PALETTE


def decoded(file: BinaryIO, reading: Reading) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) of a DICOM file: by the window of `reading`, else the first that the file names, as its
    standard says, else of 8 bits as they are. Small values are dark, also where the file has it the other way round. A
    palette all of whose pixels are grey is grey."""
    scan = read(file)
    if scan.values.ndim == 3:
        if reading.window is not None:
            raise Unsuited(
                f"it is a DICOM file of colours, which {reading.flag('window')} is not for: leave it out, or bring all "
                "images to one kind"
            )
        reading.note(DICOM)
        grey = scan.palette and (scan.values == scan.values[..., :1]).all()
        return scan.values[..., 0] if grey else scan.values
    window = reading.window or scan.window
    if window is None:
        raise Unsuited(f"it is a DICOM file {scan.unnamed}: say which values matter with {reading.window_flag()}")
    reading.note(DICOM)
    if reading.window is None:
        reading.note("{n:,} scaled to 0 to 255 by the window that the file names")
    else:
        reading.note("{n:,} scaled to 0 to 255 by the window that was given")
    if not np.isfinite(scan.values).all():
        raise Unsuited("it is a DICOM file of which some values are no numbers (NaN or infinite): mend them")
    grey = to_8_bits(scan.values, *window)
    return 255 - grey if scan.inverted else grey


def read(file: BinaryIO) -> Scan:
    """The pixels of a file in its own units. Unsuited for one of several frames, or compressed in a way that is not
    read here; Broken for one that is damaged or has none."""
    with _quietly():
        try:
            import pydicom
            from pydicom.errors import InvalidDicomError
        except ImportError as error:
            raise Unsuited("it is a DICOM file, and pydicom is not here: pip install 'raysyn[dicom]'") from error
        if DEFLATED in file.read(HEAD):
            # Of a few bytes it may make gigabytes, before any size is known.
            raise Unsuited("it is a DICOM file that is deflated as a whole, which is not read: save it uncompressed")
        file.seek(0)
        try:
            found: Any = pydicom.dcmread(file, specific_tags=list(WANTED))
            frames, rows, columns = int(found.get("NumberOfFrames") or 1), int(found.Rows), int(found.Columns)
        except (InvalidDicomError, AttributeError):
            raise Broken(WITHOUT) from None
        except Exception as error:  # readers of damaged bytes raise anything, and say what a tag holds
            if of_the_machine(error):
                raise
            raise Broken(DAMAGED) from None
        if not any(name in found for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise Broken(WITHOUT)
        if frames != 1:
            raise Unsuited("it is a DICOM file of several frames: save those that matter as files of their own")
        if not 0 < rows * columns <= MOST_PIXELS:
            raise Unsuited("it is a DICOM file of more pixels than are read: save a smaller picture")
        return _scan(found)


def _scan(found: Any) -> Scan:
    from pydicom import pixels

    try:
        stored = pixels.pixel_array(found, index=0)
    except Exception as error:  # as above
        if of_the_machine(error):
            raise
        compressed, known = _stored(found)
        if not compressed:
            raise Broken(DAMAGED) from None
        # Of 12-bit JPEG and its like a decoder is known, and does not decode them: what fails may be whole.
        raise Unsuited(
            f"it is a DICOM file whose pixels are compressed in a way that is not read here{', or damaged' * known}: "
            "save it uncompressed (gdcmconv --raw), or pip install pylibjpeg and its plugins"
        ) from None
    try:
        colour = str(found.PhotometricInterpretation)
        _check_bits(found)
        if colour == PALETTE:
            _check_palette(found)
            stored = pixels.apply_color_lut(stored, found)
            stored = (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored
            return replace(_of_colours(stored, 8), palette=True)
        if stored.ndim == 3 and colour in COLOURS:
            return _of_colours(stored, int(found.BitsStored))
        if stored.ndim == 3 or colour not in ("MONOCHROME1", "MONOCHROME2"):
            raise Unsuited("it is a DICOM file of another kind of colour: save it as grey or RGB")
        if ("RescaleSlope" in found) != ("RescaleIntercept" in found):
            raise Unsuited("it is a DICOM file with a rescale slope and no intercept, or the reverse: mend its tags")
        values = np.asarray(pixels.apply_modality_lut(stored, found))
        window, unnamed = _window(found)
        return Scan(values, window, unnamed, colour == "MONOCHROME1")
    except Unsuited:
        raise
    except Exception as error:  # as above
        if of_the_machine(error):
            raise
        raise Broken(DAMAGED) from None


def _of_colours(stored: np.ndarray, bits: int) -> Scan:
    if stored.dtype != np.uint8 or stored.shape[2] != 3 or bits != 8:
        raise Unsuited("it is a DICOM file of colours that are not of 8 bits: save it as 8-bit RGB")
    return Scan(stored, None, "", False)


def _check_bits(found: Any) -> None:
    """Unsuited where values do not lie in the lower bits, which are those that are read. Floats say nothing of it, and
    values that fill their words lie where they must, whatever is said."""
    stored, high = found.get("BitsStored"), found.get("HighBit")
    if stored is None or high is None or int(stored) == int(found.BitsAllocated):
        return
    if int(high) != int(stored) - 1:
        raise Unsuited(
            "it is a DICOM file whose values are not in the lower bits (HighBit is not BitsStored - 1): save it anew"
        )


def _check_palette(found: Any) -> None:
    """Unsuited where numbers of colours have a sign, and where colours are said to have 16 bits, and have 8: they would
    all be black."""
    if int(found.PixelRepresentation):
        raise Unsuited("it is a DICOM file with a palette and numbers with a sign: save it as 8-bit RGB")
    names = [f"{name}PaletteColorLookupTable" for name in ("Red", "Green", "Blue")]
    if not all(f"{name}Data" in found and int(found[f"{name}Descriptor"].value[2]) == 16 for name in names):
        return
    if all(np.frombuffer(found[f"{name}Data"].value, "<u2").max(initial=0) < 256 for name in names):
        raise Unsuited("it is a DICOM file whose palette is of 8 bits and says 16: save it as 8-bit RGB")


def _window(found: Any) -> tuple[tuple[float, float] | None, str]:
    """The first window that the file names, as the values that become 0 and 255 (DICOM PS3.3, C.11.2.1.2); or why there
    is none."""
    if found.get("WindowCenter") is None or found.get("WindowWidth") is None:
        if "VOILUTSequence" in found:
            return None, "whose values become grey by a table"
        # Floats have neither of these.
        plain = not int(found.get("PixelRepresentation", 0)) and int(found.get("BitsStored", 64)) <= 8
        rescaled = found.get("RescaleSlope", 1) != 1 or found.get("RescaleIntercept", 0) != 0
        if plain and not rescaled and "ModalityLUTSequence" not in found:
            return (0.0, 2.0 ** int(found.BitsStored) - 1), ""
        return None, "that names no window"
    shape = str(found.get("VOILUTFunction") or "LINEAR")
    try:
        centre, width = (float(_first(found[name].value)) for name in ("WindowCenter", "WindowWidth"))
    except (TypeError, ValueError, IndexError):
        return None, "whose window is no pair of numbers"
    if shape not in ("LINEAR", "LINEAR_EXACT"):
        return None, "whose window is no straight line"
    centre, width = (centre - 0.5, width - 1) if shape == "LINEAR" else (centre, width)
    low, high = centre - width / 2, centre + width / 2
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return None, "whose window is empty"
    return (low, high), ""


def _first(value: Any) -> Any:
    return value if isinstance(value, str | float | int) or not hasattr(value, "__getitem__") else value[0]


def _stored(found: Any) -> tuple[bool, bool]:
    """Whether its pixels are compressed, and whether a decoder is known for the way they are."""
    from pydicom import pixels

    try:
        syntax = found.file_meta.TransferSyntaxUID
        return bool(syntax.is_compressed), bool(pixels.get_decoder(syntax).is_available)
    except (AttributeError, NotImplementedError, ValueError):
        return True, False


@contextmanager
def _quietly() -> Iterator[None]:
    """pydicom warns of what it reads, in words that tags hold. What is warned of is the process's, so one at a time."""
    log = logging.getLogger("pydicom")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, log.disabled = log.disabled, True
        try:
            yield
        finally:
            log.disabled = before
