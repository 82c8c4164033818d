"""The released images once more, as tools read them that know no Parquet: class folders, and tar shards of WebDataset.

Made of the very PNG files of synthetic.parquet. Their hashes stand in a manifest, whose own is in the certificate.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import unicodedata
from collections.abc import Mapping, Sequence

from raysyn.runs.may_leave import FOLDER, TAR

MANIFEST = "manifest.json"
SHARD = 5_000
"""Images of a tar file."""
LONGEST = 100
"""Bytes of a folder's name: file systems take 255, and some tools add to it."""
STRANGE = re.compile(r'[/\\:*?"<>|%$&;`\'!~#{}\[\]]')
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for itself."""
MADE_BY_SYSTEMS = ("lost+found", "system volume information")


def laid_out(pictures: Sequence[bytes], labels: Sequence[int], names: Sequence[str],
             layouts: Sequence[str]) -> dict[str, bytes]:  # fmt: skip
    """Files by their place in release/, of the layouts that are asked for; `pictures` are PNG files."""
    made = {FOLDER: _folder, TAR: _tars}
    return {place: file for layout in layouts if layout in made
            for place, file in made[layout](pictures, labels, names).items()}  # fmt: skip


def manifest(files: Mapping[str, bytes]) -> bytes:
    """manifest.json: {place: SHA-256}."""
    return _json(hashes_of(files))


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """{place: SHA-256}."""
    return {place: hashlib.sha256(file).hexdigest() for place, file in files.items()}


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder for each class. The classes' own names where every file system and shell takes them, and sorts them as
    they are numbered, so that whoever reads the folders gets the same numbers; otherwise with the number in front."""
    clean = [_clean(name) for name in names]
    folded = {name.casefold() for name in clean}
    if clean == list(names) and clean == sorted(clean) and len(folded) == len(clean):
        return clean
    width = len(str(len(names) - 1))
    return [f"{number:0{width}d}_{name}" for number, name in enumerate(clean)]


def _clean(name: str) -> str:
    """A name that a file may have everywhere."""
    plain = unicodedata.normalize("NFC", STRANGE.sub("_", name))
    plain = "".join("_" if unicodedata.category(one)[0] == "C" else one for one in plain).strip()
    plain = plain.encode()[:LONGEST].decode(errors="ignore").rstrip(". ")
    # Hidden files, and those that tools pass over, begin so; so do flags.
    plain = re.sub(r"^(\.|-|__)", "_", plain)
    kept = DEVICES.fullmatch(plain) or plain.lower() in MADE_BY_SYSTEMS
    return f"_{plain}" if kept or not plain else plain


def _folder(pictures: Sequence[bytes], labels: Sequence[int], names: Sequence[str]) -> dict[str, bytes]:
    """folder/train/CLASS/000000.png, numbered as in synthetic.parquet."""
    folders = folder_names(names)
    width = max(6, len(str(len(pictures))))
    files = {
        f"{FOLDER}/train/{folders[label]}/{at:0{width}d}.png": picture
        for at, (picture, label) in enumerate(zip(pictures, labels, strict=True))
    }
    rows = [{"label": at, "name": name, "folder": folders[at]} for at, name in enumerate(names)]
    return {f"{FOLDER}/classes.json": _json(rows), **files}


def _tars(pictures: Sequence[bytes], labels: Sequence[int], names: Sequence[str]) -> dict[str, bytes]:
    """webdataset/train-000000.tar, of pairs KEY.png and KEY.cls."""
    files = {f"{TAR}/classes.json": _json([{"label": at, "name": name} for at, name in enumerate(names)])}
    width = max(6, len(str(len(pictures))))
    for number, begin in enumerate(range(0, len(pictures), SHARD)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for at in range(begin, min(begin + SHARD, len(pictures))):
                for ending, content in (("png", pictures[at]), ("cls", str(labels[at]).encode())):
                    # Of no time and no owner: the same images are the same bytes.
                    one = tarfile.TarInfo(f"{at:0{width}d}.{ending}")
                    one.size = len(content)
                    tar.addfile(one, io.BytesIO(content))
        files[f"{TAR}/train-{number:06d}.tar"] = buffer.getvalue()
    return files


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
