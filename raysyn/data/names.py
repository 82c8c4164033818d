"""Names that a release can carry: certificate, Parquet file, picture and report are written in UTF-8, a line a name.

A name that cannot be written is refused where it is read, before anything is spent.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

CONTROL = ("Cc", "Zl", "Zp")
"""Unicode's categories of line breaks, tabs and other control characters."""
TURNS = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
"""Invisible characters after which what follows is shown in another order, whatever it is written into."""
AT_MOST = 12
"""Names of columns in a message."""
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]*)?")


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted: by value where all are numbers."""
    every = sorted(names)
    return sorted(every, key=float) if all(map(NUMBER.fullmatch, every)) else every


def legible(text: str) -> str:
    """`text` with what is no UTF-8 as the bytes that it came from (\\xe4), for messages."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # halves of a character that came from no file name
        return text.encode("utf-8", "backslashreplace").decode()


def there_are(names: Iterable[str], *asked: str) -> str:
    """`names` for a message, those nearest to what was `asked` first; of many the first alone, and how many more."""
    every = list(names)
    near = [name for one in asked for name in get_close_matches(one, every, n=3)]
    shown = list(dict.fromkeys([*near, *every]))
    more = f" and {len(shown) - AT_MOST:,} more" if len(shown) > AT_MOST else ""
    return (", ".join(shown[:AT_MOST]) or "none") + more


def check_name(place: str, what: str, name: str) -> None:
    """ValueError, in one sentence that `place` opens, where `what` (a class, a data set) has such a `name`."""
    if not name.strip():
        fault, mend = "is empty", "give it a name"
    elif found := _fault(name):
        fault, mend = found, "rename it"
    else:
        return
    raise ValueError(f"{legible(place)}: the name of {what}, '{_shown(name)}', {fault}; {mend}")


def check_text(field: str, text: str) -> None:
    """The same for what a setting says in words, which the certificate repeats."""
    fault = _fault(text) if text.strip() else "says nothing"
    if fault:
        raise ValueError(f"{field} is '{_shown(text)}', which {fault}; write it otherwise, or leave it out")


def _fault(text: str) -> str | None:
    if any(unicodedata.category(one) == "Cs" for one in text):
        return "is not UTF-8 and cannot be written into the release"
    if any(unicodedata.category(one) in CONTROL for one in text):
        return "holds a line break or another control character and cannot be written into the release"
    if turns := [one for one in text if one in TURNS]:
        return f"holds U+{ord(turns[0]):04X}, an invisible character that turns around what is written after it"
    return None


def _shown(text: str) -> str:
    hidden = (one for one in legible(text) if unicodedata.category(one) in CONTROL or one in TURNS)
    return legible(text).translate({ord(one): repr(one)[1:-1] for one in hidden})


def check_class_names(place: str, names: Sequence[str], *, once: bool = True) -> None:
    """The same for the names of all classes; if `once`, they must differ as they are read, however stored."""
    for number, name in enumerate(names):
        check_name(place, f"class {number}", name)
    same = Counter(unicodedata.normalize("NFC", name).strip() for name in names)
    for name, count in same.items():
        if once and count > 1:
            written = dict.fromkeys(one for one in names if unicodedata.normalize("NFC", one).strip() == name)
            how = f" (written {' and '.join(map(repr, written))})" if len(written) > 1 else ""
            raise ValueError(f"{legible(place)}: {count} classes are called {name!r}{how}; rename all but one")


def check_by_name(name: str) -> None:
    """ValueError where a set that is known by name is also a file or folder here: who gave it may have meant that."""
    if Path(name).exists():
        what = "folder" if Path(name).is_dir() else "file"
        raise ValueError(
            f"{name} is a set that raysyn knows by name, and a {what} here: give ./{name} for that, or go to another "
            "folder for the set"
        )
