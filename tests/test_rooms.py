"""The arrows between the rooms, and inside a method: who may import whom. A new import against them fails, by name."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "raysyn").rglob("*.py"), *(ROOT / "jobs").glob("*.py")])

# A room may import itself and what is listed; a dotted name is that one file.
STORAGE = "runs.storage"
ARROWS: dict[str, set[str]] = {
    "data": set(),
    "models": set(),
    "screen": {"privacy.rounding"},
    "compute": {STORAGE},
    "train": {"models", "compute", "data"},
    "privacy": {"data", "compute", "train"},
    "attacks": {"data", "compute", "models", "train"},
    "metrics": {"data", "compute", "models", "train"},
    "audits": {"attacks", "privacy", "data", "compute", "train"},
    "runs": {"privacy"},
    "report": {"privacy", "runs", "data", "screen.console", "screen.words"},
    "methods": {
        "data",
        "compute",
        "privacy",
        "models",
        "train",
        "metrics",
        "attacks",
        "runs",
        "report",
        "screen.console",
        "screen.ended",
        "screen.flags",
        "screen.trackers",
        "screen.words",
    },
    "on_ray": {"compute", STORAGE, "runs.probe"},
    "door": {"methods", "audits", "on_ray", "screen", "runs", "report", "compute", "data", "attacks", "train.samplers"}
    | {"privacy.cost", "privacy.ledger"},
    "jobs": {"door"},
}
# The public door and the command: files that lie at the top.
DOOR = {
    *(
        "__init__",
        "__main__",
        "command",
        "door",
        "draw_source",
        "keywords",
        "look_run",
        "looking",
        "more_images",
        "own_data",
        "preparing",
    ),
    *("attacked_run", "attacking", "audit_run", "audit_source", "audit_table", "auditing", "verbs", "verify"),
}
ONE_ROOM_ONLY = {"ray": "on_ray"}
# Inside a method: each may import those of lower number, and what is named otherwise (stages) its like.
FLOORS = {"config": 0, "presets": 1, "experiments": 2, "report": 3, "outlook": 3, "pipeline": 4}
STAGES = 1


def floor(part: str) -> int:
    """Of what a method's file is called: a group of settings lies below all of them."""
    return -1 if part.endswith("_config") else FLOORS.get(part, STAGES)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    top, *rest = module.split(".")
    if top == "jobs":
        return "jobs"
    return "door" if not rest or rest[0] in DOOR else rest[0]


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Modules that `path` imports, wherever in it and for whatever reason, those of raysyn as they are called."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno} imports relatively; write the whole name"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                found.add(inside if inside in MODULES else node.module)
    return frozenset(found)


def of_raysyn(module: str) -> set[str]:
    return {name for name in imports(MODULES[module]) if name.split(".")[0] == "raysyn"} - {module}


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    room = room_of(module)
    for name in of_raysyn(module):
        inside = name.removeprefix("raysyn.")
        allowed = room_of(name) in ARROWS[room] | {room} or inside in ARROWS[room]
        assert allowed, f"{module} must not import {name}: {room} may import {', '.join(sorted(ARROWS[room]))}"
    for name in imports(MODULES[module]):
        if (top := name.split(".")[0]) in ONE_ROOM_ONLY:
            assert room == ONE_ROOM_ONLY[top], f"only {ONE_ROOM_ONLY[top]} may import {top}"


def test_every_room_is_known() -> None:
    assert {room_of(module) for module in MODULES} == set(ARROWS)


def house_of(module: str) -> tuple[str, str] | None:
    """(method, its part) of what belongs to one method."""
    parts = module.split(".")
    return (parts[2], parts[3]) if parts[1:2] == ["methods"] and len(parts) == 4 else None


@pytest.mark.parametrize("module", [module for module in MODULES if house_of(module)])
def test_inside_a_method_imports_go_down_and_of_another_one_only_its_config(module: str) -> None:
    mine = house_of(module)
    assert mine is not None
    for name in of_raysyn(module):
        if (theirs := house_of(name)) is None:
            continue
        if theirs[0] != mine[0]:
            assert theirs[1] == "config", f"{module} must not import {name}: of another method its config alone"
            continue
        high, low = floor(mine[1]), floor(theirs[1])
        alike = high == low and not {mine[1], theirs[1]} & set(FLOORS)
        assert low < high or alike, f"{module} must not import {name}: see the floors"


def test_what_methods_share_imports_none_of_them() -> None:
    for module in MODULES:
        if module.startswith("raysyn.methods.") and house_of(module) is None:
            assert not [name for name in of_raysyn(module) if house_of(name)], module


def test_there_is_no_circle() -> None:
    """Imports inside functions and those for type checking are counted."""
    left = {module: of_raysyn(module) & set(MODULES) for module in MODULES}
    while free := [module for module, needs in left.items() if not needs]:
        for module in free:
            del left[module]
        left = {module: needs - set(free) for module, needs in left.items()}
    # Those that only lead to a circle are not in it.
    while free := set(left) - {name for needs in left.values() for name in needs}:
        left = {module: needs for module, needs in left.items() if module not in free}
    assert not left, f"circles among {', '.join(sorted(left))}"
