"""What a user's file imports from the folder that the command starts in."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

_DIGESTS: dict[str, tuple[object, object, str]] = {}
"""By name: module and specification as they were loaded (which `importlib.reload` makes anew), SHA-256 of the file."""


def digest(name: str) -> str | None:
    """SHA-256 (hex) of the loaded module's file as it was when this process first asked: what is edited afterwards does
    not run here. None where no such module is loaded, or from no file (some name one that is none)."""
    module = sys.modules.get(name)
    if not (file := getattr(module, "__file__", None)):
        return None
    spec, known = getattr(module, "__spec__", None), _DIGESTS.get(name)
    if known is None or known[0] is not module or known[1] is not spec:
        try:
            told = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        except OSError:
            return None
        known = _DIGESTS[name] = module, spec, told
    return known[2]


def edited(name: str) -> bool:
    """Whether the loaded module's file was written to after it was loaded, and before this process first asked for its
    digest, which would then be of other code: by what Python notes of a file as it compiles it, where it does."""
    module = sys.modules.get(name)
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    known, cached = _DIGESTS.get(name), getattr(spec, "cached", None)
    if sys.dont_write_bytecode or not file or (known is not None and known[0] is module and known[1] is spec):
        return False
    if type(getattr(spec, "loader", None)) is not SourceFileLoader or not cached:
        return False
    try:
        with open(cached, "rb") as compiled:
            head, now = compiled.read(16), os.stat(file)
    except OSError:
        return False
    as_now = b"".join(int(value & 0xFFFFFFFF).to_bytes(4, "little") for value in (int(now.st_mtime), now.st_size))
    by_time = head[:4] == importlib.util.MAGIC_NUMBER and head[4:8] == bytes(4)  # not by the file's hash
    return by_time and head[8:] != as_now


def loaded(folder: str, libraries: tuple[str, ...], package: str = "") -> list[str]:
    """Names of the folder's modules that are loaded, in order; not of `libraries`, which may lie in it. And those of
    `package`, wherever it lies."""
    inside, below = folder.rstrip(os.sep) + os.sep, f"{package}."
    found = list[str]()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__":
            continue
        own = file.startswith(inside) and not file.startswith(libraries)
        if own or (package and (name == package or name.startswith(below))):
            found.append(name)
    return sorted(found)


def hidden(module: str, folder: str) -> tuple[Path, str, str, str] | None:
    """(importing file, name, its file in the folder, the file that is imported instead), where there is such a name.

    Looks at what the file of `module` imports, and at what that imports, without running it. Python's own modules are
    meant to come first, and `module` itself is the folder's.
    """
    seen, todo = set[Path](), list(_files(module, Path(folder)))
    while todo:
        if (file := todo.pop()) in seen:
            continue
        seen.add(file)
        for name in _imported(file, Path(folder)):
            top = name.partition(".")[0]
            if top in sys.stdlib_module_names:
                continue
            own = PathFinder.find_spec(top, [folder])
            if own is None or own.origin is None:
                continue
            other = None if top == module.partition(".")[0] else _comes_first(top)
            if other is not None and not os.path.samefile(other, own.origin):
                return file, top, own.origin, other
            todo += _files(name, Path(folder))
    return None


def _comes_first(top: str) -> str | None:
    """The file that `import top` runs, if it is one."""
    known: ModuleType | None = sys.modules.get(top)
    if known is not None:
        return getattr(known, "__file__", None)
    spec = importlib.util.find_spec(top)
    return spec.origin if spec is not None and spec.has_location else None


def _files(module: str, folder: Path) -> Iterator[Path]:
    """Those of the folder that `import module` runs."""
    path = folder
    for part in module.split("."):
        path = path / part
        yield from (file for file in (path / "__init__.py", path.with_name(f"{part}.py")) if file.is_file())


def _imported(file: Path, folder: Path) -> Iterator[str]:
    """The full names of all modules that a file of the folder may import; none where it is no Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # Importing it tells where.
    inside = file.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from ([base] if base else [])
            # What is taken from a package may be a module of it.
            yield from (f"{base}.{alias.name}" for alias in node.names if base and alias.name != "*")
