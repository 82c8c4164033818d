"""The room's own shape: short files, short functions, and no circle of imports."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "raysyn" / "on_ray"
FILES = sorted(ROOM.glob("*.py"))
LINES, LINES_OF_A_FUNCTION = 300, 50


def imported(path: Path) -> set[str]:
    """Files of this room that `path` imports, those for type checking among them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "raysyn.on_ray":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("raysyn.on_ray."):
            names.add(str(node.module).split(".")[2])
    return names


def test_no_file_imports_another_that_needs_it() -> None:
    graph = {path.stem: imported(path) for path in FILES}
    assert graph["cluster"] and list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert len(text.splitlines()) <= LINES
    assert {one.name for one in functions if one.end_lineno - one.lineno >= LINES_OF_A_FUNCTION} == set()
