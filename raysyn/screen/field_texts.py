"""The text under each field of a dataclass, as its source has it: the help of its flag."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from dataclasses import is_dataclass
from typing import Any


@functools.cache
def texts_under(home: Any) -> dict[str, str]:
    """{field: the text under it} of a dataclass and those that it inherits from, each in one line."""
    found: dict[str, str] = {}
    for kind in reversed(home.__mro__):
        before: ast.stmt | None = None
        for node in _body(kind):
            match before, node:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
            before = node
    return found


def text_under(home: Any, field: str) -> str:
    """Of one field; empty where there is none."""
    return texts_under(home).get(field, "")


def _body(kind: type) -> list[ast.stmt]:
    """Statements of a class; none for one that is built in."""
    name = kind.__qualname__.rpartition(".")[2]
    classes = _classes(kind.__module__) if is_dataclass(kind) else {}
    return classes[name].body if name in classes else []


@functools.cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
