"""Versions of packages, as runs remember them."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any


def version(distribution: str = "raysyn") -> str:
    """The installed version of a distribution, or `not installed`."""
    try:
        return _installed(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# Each look reads and parses the distribution's whole description, and a run asks for several, several times. What is
# not installed is looked for again.
_installed = functools.cache(importlib.metadata.version)


def other_version(signed: Any) -> str:
    """What else may be wrong with a certificate that cannot be read, in words; nothing where this version made it."""
    made_by = signed.get("made_by") if isinstance(signed, dict) else None
    by = made_by.get("raysyn", "unknown") if isinstance(made_by, dict) else "unknown"
    return "" if by == version() else f" or of another version of raysyn (made by {by}, here {version()})"
