"""Whose a method is: of another package, whose code nothing here answers for."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from raysyn.methods.catalogue import GROUP


def source_of(run: Callable[[Any], Any]) -> dict[str, str]:
    """What tells a method of somebody else's from the same one edited: {"method_source": SHA-256 (hex)} of every Python
    file of its package, whether it is loaded by now or not. Edited code in an old folder could ask the private images
    anew with the noise of the old answer. For raysyn's own methods its version says it."""
    package = _package(run)
    if package == "raysyn":
        return {}
    own = Path(str(sys.modules[package].__file__))
    files = sorted(own.parent.rglob("*.py")) if own.name == "__init__.py" else [own]
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(own.parent)}:{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return {"method_source": found.hexdigest()}


def package_of(run: Callable[[Any], Any]) -> str | None:
    """Whose a method is, with the version that is installed, as a certificate names it; None of raysyn's own."""
    package = _package(run)
    if package == "raysyn":
        return None
    for one in entry_points(group=GROUP):
        if one.module.partition(".")[0] == package and one.dist is not None:
            return f"{one.dist.name} {one.dist.version}"
    return package


def _package(run: Callable[[Any], Any]) -> str:
    return run.__module__.partition(".")[0]
