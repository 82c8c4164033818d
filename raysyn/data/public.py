"""Public images, however many: decoded once into a flat file, and read from it by number.

Once decoded, memory holds their labels and what is asked for, not the set.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from raysyn.data.copies import digest
from raysyn.data.decoding import decode_into
from raysyn.data.flat_pixels import FlatPixels
from raysyn.data.images import DataConfig, Images
from raysyn.data.names import check_class_names, check_name
from raysyn.data.parquet_batches import ROWS_AT_ONCE
from raysyn.data.picture import Fit, chosen_fit
from raysyn.data.reading import Reading
from raysyn.data.sources import (
    cache_folder,
    check_given,
    subset,
)
from raysyn.data.streams import PublicConfig, Stream

Released = Literal["unchanged", "changed"]
HELD_OUT = 50
"""Where a source has training images only, one of so many is for validation."""


@dataclass(frozen=True)
class Public:
    """Training and validation images, whose pixels stay in a file until they are asked for."""

    name: str
    train: Images
    valid: Images
    shared: int = 0
    """Sensitive images that are among them, pixel by pixel, where that was looked for."""
    sets: tuple[str, ...] = ()
    """Names of the sets they come from: public sets, files or folders, without their paths."""

    def described(self, released: Released | None = None) -> dict[str, Any]:
        """What a certificate says of them, and as what they are among the released images, if they are: anyone who has
        the same images gets the same fingerprints, by `load_public(config, shape)` and `Images.fingerprint`."""
        return {
            "sets": list(self.sets),
            "images": len(self.train),
            "sha256": self.train.fingerprint(),
            "validation_images": len(self.valid),
            "validation_sha256": self.valid.fingerprint(),
            **({} if released is None else {"released": released}),
        }


def load_beside(private: DataConfig, images: Images, config: PublicConfig, most_shared: float) -> Public:
    """`load_public` in the shape of the sensitive `images`.

    ValueError where these are named as public ones, or where more than the share `most_shared` of them is among these
    pixel by pixel: then they are hardly public, and what this call decoded of a file or folder is erased from the
    cache; what was there may be another run's, and its place is told. None are taken out: which public images are
    learned from would tell which of them are private, and no noise would hide it. What the comparison tells,
    `comparison` says; how many there are is said in a report alone, which stays inside.
    """
    field = _others(private, config)
    folder = _decoded(config, images.shape)[2]
    decoded = not (folder / "facts.json").exists()
    public = load_public(config, images.shape)
    if (both := shared_pixels(images, public)) > most_shared * len(images):
        # Not how many: an error message is copied to whom a report is not shown.
        many = f"more than {100 * most_shared:g} % of the sensitive images" if most_shared else "sensitive images"
        if decoded and config.path:
            shutil.rmtree(folder, ignore_errors=True)
        left = f" (what was decoded of it lies in {folder}: erase that)" if config.path and folder.exists() else ""
        raise ValueError(f"{field} has {many} in it, pixel by pixel: name images that everybody may see{left}")
    return replace(public, shared=both)


def look_beside(private: DataConfig, shape: tuple[int, int, int], config: PublicConfig) -> None:
    """Look whether there are public images, downloading what must be, without decoding them; ValueError as
    `load_beside` for all that this can tell."""
    _others(private, config)
    source, _, folder = _decoded(config, shape)
    if not (folder / "facts.json").exists():
        names, _ = source.opened()
        check_class_names(source.label, names or (), once=False)


def _others(private: DataConfig, config: PublicConfig) -> str:
    """The flag that names the public images; ValueError where these are the sensitive ones."""
    own = private.name if private.path is None else str(Path(private.path).expanduser().resolve())
    sets = [str(check_given(path, f"public.path={path!r}").resolve()) for path in config.path] or list(config.name)
    field = f"public.{'path' if config.path else 'name'}"
    if (private.path is None) != bool(config.path) and own in sets:
        raise ValueError(f"{field} names {own}, the sensitive images themselves: name images that everybody may see")
    return field


def comparison(most_shared: float) -> str:
    """The choice that `load_beside` makes uncharged, as a certificate lists it."""
    how = (
        "public images were compared with the private ones, pixel by pixel in the size they are used in (another crop "
        "or compression passes, and so do images of one colour): "
    )
    if not most_shared:
        return how + "had one been among them, there would be no release, so that this one tells of none there"
    share = f"{100 * most_shared:g} %"
    return how + (
        f"had more than {share} of the private ones been among them, there would be no release; up to {share} may be "
        "there, and are learned from as public images, without noise"
    )


def in_both(public: Public) -> list[str]:
    """What a report, which stays inside, says of sensitive images among the public ones."""
    return [f"{public.shared:,} of the sensitive images are public ones too, pixel by pixel."] if public.shared else []


def shared_pixels(private: Images, public: Public) -> int:
    """How many of the sensitive images are public ones too, as they are after decoding; images of one colour apart."""
    sensitive = Counter(digest(one) for one in private.images_NHWC if one.min() != one.max())
    found = set[bytes]()
    for part in (public.train, public.valid):
        for at in range(0, len(part), ROWS_AT_ONCE):
            found.update(sensitive.keys() & {digest(one) for one in part.images_NHWC[at : at + ROWS_AT_ONCE]})
    return sum(sensitive[one] for one in found)


def load_public(config: PublicConfig, shape: tuple[int, int, int]) -> Public:
    """The public images in `shape` (H, W, C), fitted as `picture.fitted` does, grey or colour as it says.

    Decodes once into RAYSYN_CACHE and again only when the source or the shape changes. Validation images are those of
    the val split, else of the test split, else one of 50 training images; of several sets, of those that have one.
    Raises ValueError, one sentence
    with field, value and mend, for what a user can mend.
    """
    source, fit, folder = _decoded(config, shape)
    if not (folder / "facts.json").exists():
        decode_into(folder, source, shape, fit, Reading.of(config, "public."))
    facts = json.loads((folder / "facts.json").read_text())
    check_class_names(source.label, facts["class_names"], once=False)

    def part(split: str, chosen: Callable[[int], np.ndarray]) -> Images:
        labels = np.load(folder / f"{split}.npy")
        rows = chosen(len(labels))
        pixels = FlatPixels(folder / f"{split}.u8", shape, rows)
        return Images(cast(np.ndarray, pixels), labels[rows], tuple(facts["class_names"]))

    def wanted(n: int) -> np.ndarray:
        own = np.arange(n) if apart else np.flatnonzero(np.arange(n) % HELD_OUT != HELD_OUT - 1)
        return own if config.limit is None or config.limit >= len(own) else own[subset(len(own), config.limit)]

    apart = next((split for split in ("val", "test") if facts["images"][split]), None)
    valid = part(apart, np.arange) if apart else part("train", lambda n: np.arange(HELD_OUT - 1, n, HELD_OUT))
    if not len(valid):
        raise ValueError(
            f"{source.label} has {facts['images']['train']} images and none to validate a classifier with: give a val "
            f"or test split, or at least {HELD_OUT} images"
        )
    return Public(source.name, part("train", wanted), valid, sets=config.sets())


def _decoded(config: PublicConfig, shape: tuple[int, int, int]) -> tuple[Stream, Fit | None, Path]:
    """The source, how its pictures are fitted, and where they are, once they are decoded."""
    if config.limit is not None and config.limit < 1:
        raise ValueError(f"public.limit={config.limit} leaves no images; give at least 1 or leave it out")
    fit, reading = chosen_fit(config.fit, config.crop, "public."), Reading.of(config, "public.")
    source = Stream.of(config)
    for name in (source.name, *config.sets()):
        check_name(source.label, "the public set", name)
    # As it always was, so that what is decoded already is found.
    fits = [] if fit in (None, "stretch") else [{"crop": "centre"}.get(fit, fit)]
    made_of = (source.identity, shape, *fits, *reading.given())
    return source, fit, cache_folder() / "public" / hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]
