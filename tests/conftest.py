"""What several rooms' tests share."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True)  # so that it comes before xdist, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """In two processes (`make test`): one runs all that starts Ray, first, for two clusters at a time would be slow; a
    module, whose fixtures may be whole runs, stays in one."""
    on_ray = [item for item in items if item.path.parent.name in ("on_ray", "jobs")]
    others = [item for item in items if item not in on_ray]
    for item in on_ray:
        item.add_marker(pytest.mark.xdist_group("ray"))
    for item in others:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items[:] = on_ray + others
    return (yield)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets as Parquet files; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("RAYSYN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set RAYSYN_DATA)")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray cluster of two CPUs for all tests; `connect` and `OnRay` inside it use it."""
    from raysyn.on_ray.cluster import session

    with session("local", cpus=2):
        yield
