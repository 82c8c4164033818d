"""In which files a release leaves: its settings, which everything that is released from may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysyn.data.names import check_text

Layout = Literal["parquet", "folder", "webdataset"]


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """In which files the images leave. Changes nothing in them: a finished run may be written anew."""

    layout: tuple[Layout, ...] = ("parquet",)
    """synthetic.parquet is always there; beside it folder (class folders of PNG files, as ImageFolder reads them) and
    webdataset (tar files). Soft labels are in synthetic.parquet alone."""
    network: bool = False
    """Also what the images are drawn from, the network's weights or a Gaussian per class, as network.safetensors and
    network.json: whoever has the release can draw more of it with raysyn draw."""
    license: str | None = None
    """What the card says of it, as an identifier such as cc-by-4.0: yours to choose."""

    def __post_init__(self) -> None:
        if self.license is not None:
            check_text("release.license", self.license)
