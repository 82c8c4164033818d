"""The arrows between the rooms: who may import whom. A new import against them fails here, by name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room may import itself and what is listed. Order is the order of the README.
ARROWS: dict[str, set[str]] = {
    "names": set(),
    "data": {"sources", "names"},
    "public": {"data", "sources", "names"},
    "sources": {"data"},
    "compute": set(),
    "storage": set(),
    "remote": {"storage"},
    "local": {"compute", "storage"},
    "figures": set(),
    "console": set(),
    "choices": set(),
    "may_leave": set(),
    "cli": set(),
    "models": set(),
    "train": {"models", "compute", "data"},
    "privacy": {"data", "compute", "train"},
    "attacks": {"data", "compute", "models", "train"},
    "metrics": {"data", "compute", "models", "train"},
    "runs": {"privacy", "storage", "remote", "may_leave"},
    "sealing": {"runs", "storage"},
    "release": {"data", "privacy", "runs", "storage", "may_leave", "choices"},
    "rehearsal": {"data", "names", "release", "report"},
    "verify": {"privacy", "release", "runs", "may_leave"},
    "across_runs": {"runs", "storage"},
    "report": {"privacy", "runs", "storage", "data", "console", "release", "across_runs", "choices"},
    "methods": {
        "data",
        "public",
        "compute",
        "models",
        "train",
        "privacy",
        "attacks",
        "metrics",
        "runs",
        "sealing",
        "storage",
        "report",
        "release",
        "choices",
        "rehearsal",
        "figures",
        "console",
    },
    "on_ray": {"compute", "storage", "local"},
    "jobs": {"methods", "on_ray", "cli", "runs", "report", "console"},
}
ONE_ROOM_ONLY = {"ray": "on_ray", "tyro": "cli"}
FILES = sorted([*(ROOT / "raysyn").rglob("*.py"), *(ROOT / "jobs").glob("*.py")])


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "jobs" else parts[1]


def imports(path: Path) -> set[str]:
    """Absolute dotted names that `path` imports, `from raysyn import x` counted as raysyn.x."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        top, *rest = name.split(".")
        if top == "raysyn" and rest[0] in ARROWS:
            assert rest[0] == room or rest[0] in ARROWS[room], f"{room} must not import raysyn.{rest[0]}"
        if top in ONE_ROOM_ONLY:
            assert room == ONE_ROOM_ONLY[top], f"only {ONE_ROOM_ONLY[top]} may import {top}"


def test_every_room_is_known() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(ARROWS)
