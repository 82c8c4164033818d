"""Versions of packages, as runs remember them."""

from __future__ import annotations

import functools
import importlib.metadata


def version(distribution: str = "raysyn") -> str:
    """The installed version of a distribution, or `not installed`."""
    try:
        return _installed(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# Each look reads and parses the distribution's whole description, and a run asks for several, several times. What is
# not installed is looked for again.
_installed = functools.cache(importlib.metadata.version)
