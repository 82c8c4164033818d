"""Whose a method is: of another package, whose code nothing here answers for."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from raysyn.methods.catalogue import GROUP, METHODS, TOOLS


def source_of(*parts: Callable[..., Any]) -> dict[str, str]:
    """What tells a method of somebody else's from the same one edited: {"method_source": SHA-256 (hex)} of every Python
    file of its package, whether it is loaded by now or not; `parts` are its functions. Edited code in an old folder
    could ask the private images anew with the noise of the old answer. For raysyn's own methods its version says it."""
    if (package := _foreign(parts)) is None:
        return {}
    own = Path(str(sys.modules[package].__file__))
    files = sorted(own.parent.rglob("*.py")) if own.name == "__init__.py" else [own]
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(own.parent)}:{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return {"method_source": found.hexdigest()}


def package_of(name: str, *parts: Callable[..., Any]) -> str | None:
    """Whose the method of this name is, with the version that is installed, as a certificate names it; None of raysyn's
    own. One that another package enters is that package's, also where all its `parts` are raysyn's."""
    package = _foreign(parts)
    if package is None and name in (own.name for own in (*METHODS, *TOOLS)):
        return None  # whatever another package calls by it, that is never run
    for one in entry_points(group=GROUP):
        if one.dist is not None and (one.name == name or one.module.partition(".")[0] == package):
            return f"{one.dist.name} {one.dist.version}"
    return package


def _foreign(parts: Sequence[Callable[..., Any]]) -> str | None:
    """The package of the first that is not raysyn's."""
    for part in parts:
        while isinstance(part, partial):
            part = part.func
        if (package := str(part.__module__).partition(".")[0]) != "raysyn":
            return package
    return None
