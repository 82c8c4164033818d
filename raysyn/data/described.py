"""What a picture is before it is made plain: size, mode, and where its values lie."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from raysyn.data import dicom
from raysyn.data.image_file import open_file, stored, values
from raysyn.data.picture import content

SCAN_OF_PALETTE = "DICOM palette"
"""Mode of a DICOM file whose values are numbers of colours."""


class Described(NamedTuple):
    """One picture."""

    size: tuple[int, int]
    """(width, height)"""
    mode: str
    """Pillow's; of DICOM files and arrays, in words."""
    span: tuple[float, float] | None = None
    """Its least and largest value, in its own units, where it is deeper than 8 bits."""
    scan: bool = False
    """Whether it is a grey DICOM file."""
    window: tuple[float, float] | None = None
    """That which such a one names."""


def described(picture: Any) -> Described:
    """Facts of a picture, whether or not a run can read it; what a decoder raises where it is damaged."""
    if isinstance(picture, np.ndarray):
        height, width, channels = picture.shape
        plain, size = "L" if channels == 1 else "RGB", (width, height)
        if picture.dtype == np.uint8:
            return Described(size, plain)
        return Described(size, f"{plain} ({picture.dtype})", _span(picture))
    with content(picture) as file:
        begin = file.read(dicom.BEGIN)
        file.seek(0)
        if dicom.is_dicom(begin):
            return _of_scan(dicom.read(file))
        with open_file(file) as found:
            kind, before = found.mode.partition(";")[0], stored(found)
            return Described(found.size, found.mode, _span(values(found, before)) if kind in ("I", "F") else None)


def _of_scan(scan: dicom.Scan) -> Described:
    size = (scan.values.shape[1], scan.values.shape[0])
    if scan.values.ndim == 3:
        return Described(size, SCAN_OF_PALETTE if scan.palette else "DICOM colour")
    return Described(size, "DICOM grey", _span(scan.values), True, scan.window)


def _span(values: np.ndarray) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None
