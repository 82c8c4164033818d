"""What lies in a folder of images: what systems hide, what is no image, and links that lead nowhere."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from raysyn.data.names import legible

BESIDE = frozenset(
    f".{ending}"
    for ending in "csv db docx htm html ini ipynb json jsonl log md pdf py rst tsv txt xls xlsx xml yaml yml".split()
)
"""Endings of files that lie beside images and are none. Any other file must be an image, or is refused by its name."""
IMAGES = frozenset(
    f".{ending}"
    for ending in "apng avif avifs bmp dcm dib dicom gif icb j2c j2k jfif jp2 jpc jpe jpeg jpf jpg jpx mpo pbm pcx pfm "
    "pgm png pnm ppm qoi tga tif tiff vda vst webp".split()
)
"""Endings of images that can be read."""
UNREAD = frozenset((".heic", ".heif", ".jxl"))
"""And of some that cannot be."""
ACCOUNTS = (".account.jsonl", ".accounts-elsewhere.txt")
"""Of files that runs write beside a source, which may lie in a folder that is another one: they are not there."""
SHEET = re.compile(r"look-(.+?)(-\d+)?\.png")
"""What the contact sheet is called that `raysyn look` writes of a source of this name."""
NAMED = 3
"""Files that are named of those that are left out."""
MADE_BY_SYSTEMS = frozenset(("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"))
"""Folders, in small letters, that no person has made."""


def is_hidden(name: str) -> bool:
    """Whether systems hide it, or have made it."""
    return name.startswith(".") or name.lower() in MADE_BY_SYSTEMS


def is_sheet(name: str, sources: set[str]) -> bool:
    """Whether a file is by its name a contact sheet of one of these sources, which are named without their ending."""
    found = SHEET.fullmatch(name)
    return found is not None and (found[1] in sources or f"{found[1]}{found[2] or ''}" in sources)


def first(names: Sequence[str], of_all: int) -> str:
    """The first few of what was left out, in brackets."""
    more = f" and {of_all - NAMED:,} more" if of_all > NAMED else ""
    return f" ({', '.join(map(legible, names[:NAMED]))}{more})"


def is_beside(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file that lies beside images."""
    return ending_of(entry.name) in BESIDE


def ending_of(name: str) -> str:
    """In small letters, with its full stop."""
    return os.path.splitext(name)[1].lower()


def listed(words: list[str]) -> str:
    """Words as a sentence lists them."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def below(path: str, whole: str) -> str:
    """What to call a file or folder `whole` in an error about the folder `path`."""
    above = os.path.join(path, "")
    return legible(whole[len(above) :] if whole.startswith(above) else os.path.relpath(whole, path))


def entries_of(folder: str, path: str, label: str) -> tuple[list[os.DirEntry[str]], int]:
    """What is in one `folder` of the source `path`, in order, and how much is hidden besides; ValueError, in a sentence
    that `label` opens, for a folder that cannot be read and a link that leads nowhere."""
    try:
        every = sorted(
            (one for one in os.scandir(folder) if not one.name.endswith(ACCOUNTS)), key=lambda entry: entry.name
        )
    except OSError as error:
        raise ValueError(
            f"{label}: the folder {below(path, folder)} cannot be read ({error.strerror}); mend its permissions"
        ) from error
    shown = [one for one in every if not is_hidden(one.name)]
    dead = [one.path for one in shown if one.is_symlink() and not os.path.exists(one)]
    if dead:
        refuse_dead(dead, path, label)
    return shown, len(every) - len(shown)


def refuse_dead(links: list[str], path: str, label: str) -> None:
    """The sentence on links to what is not there."""
    also = f", like {len(links) - 1:,} more beside it" if len(links) > 1 else ""
    raise ValueError(
        f"{label}: {below(path, links[0])} is a link to what is not there{also}; bring the files (dvc pull, "
        "git annex get, a mount) or remove the links"
    )
