"""Versions of packages, as runs remember them."""

from __future__ import annotations

import importlib.metadata


def version(distribution: str = "raysyn") -> str:
    """The installed version of a distribution, or `not installed`."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
