"""The example package as if pip had installed it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import OWN, ROOT, Install

# Before a cluster starts: its workers import what this process can.
sys.path.append(str(OWN))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """install(name, **files) makes a folder on the path with what pip leaves of a package that brings one method, its
    object ENTRY of module `name`: the files, or without any those of the example."""

    before = set(sys.modules)

    def put(name: str = "means", **files: str) -> Path:
        place = tmp_path / "installed"
        about = place / f"{name}-0.1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (about / "entry_points.txt").write_text(f"[raysyn.methods]\n{name} = {name}:ENTRY\n")
        for file, source in files.items():
            (place / f"{file}.py").write_text(source)
        if not files:
            shutil.copytree(OWN / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.syspath_prepend(place)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(place)]))
        return place

    yield put
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]
