"""The room's own shape: short files, short functions. (That no import goes in a circle is tests/test_rooms.py.)"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOM = Path(__file__).parents[2] / "raysyn" / "on_ray"
FILES = sorted(ROOM.glob("*.py"))
LINES, LINES_OF_A_FUNCTION = 300, 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert len(text.splitlines()) <= LINES
    assert {one.name for one in functions if one.end_lineno - one.lineno >= LINES_OF_A_FUNCTION} == set()
