"""What several rooms' tests share."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
# Here more processes compute than there are cores: a thread that waits for another one in a loop keeps it from working,
# and a stage that has two of them takes many times as long. Read when torch is imported, here and in what is started.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples every time: a change is judged by its own faults. `--hypothesis-profile=default` looks for more.
settings.register_profile("the_same", derandomize=True, database=None)
settings.load_profile("the_same")

RAY = ("tests/on_ray", "tests/jobs")
BEFORE_RAY = ("bad_input", "one_sentence", "dry_run", "commands_of_the_readme", "leaderboard_job", "noisy_means_job")
"""Of the jobs' tests, by their names: what ends before Ray would start, or does without it."""


def starts_ray(nodeid: str) -> bool:
    """What lies in these folders, and single tests elsewhere that say so in their names."""
    return (nodeid.startswith(RAY) or nodeid.partition("[")[0].endswith("_on_ray")) and not any(
        words in nodeid for words in BEFORE_RAY
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported stays: it is not looked through for garbage, now or later, and the rest seldom, which otherwise
    takes a tenth of all time."""
    gc.disable()
    yield
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray comes first: it takes longest, and waits for much of it."""
    items.sort(key=lambda item: not starts_ray(item.nodeid))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Nothing after the tests that start Ray needs their cluster, whose processes are never quite idle."""
    ray = sys.modules.get("ray")
    if ray is not None and not starts_ray(item.nodeid) and "ray_session" not in getattr(item, "fixturenames", ()):
        ray.shutdown()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What starts Ray shares a cluster, and the processes on it, which import for seconds. A module's fixtures may be
    whole runs, so it is not split either."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            if not starts_ray(nodeid):
                return nodeid.split("::")[0]
            return "ray"

    return ByModule(config, log)


@pytest.fixture(autouse=True)
def denormals() -> None:
    """Training on CPUs turns denormal numbers into zeros, for the whole process: no test hangs on those before it."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True, scope="session")
def measured_once() -> Iterator[None]:
    """Dry runs, and runs that choose an engine of DP-SGD, measure everything a few times, for the sake of the figures;
    here nobody minds them. What a step would hold is worked out once for each network and its input; and what will be
    written is rehearsed once for each set of names and shapes, which are all that it looks at."""
    from raysyn.methods import gan_needs, needs
    from raysyn.privacy import trial
    from raysyn.report import rehearsal
    from raysyn.train import memory, outlook

    def described(given: Any) -> Any:
        if isinstance(given, list):
            return tuple(map(described, given))
        if hasattr(given, "parameters"):
            return repr(given), *(tuple(value.shape) for value in given.parameters())
        return given if isinstance(given, str | int | tuple) else type(given)

    def remembered(work_out: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[Any, Any] = {}

        def found(*given: Any, **named: Any) -> Any:
            if (key := (*map(described, given), *sorted(named.items()))) not in known:
                known[key] = work_out(*given, **named)
            return known[key]

        return found

    rehearse, done = rehearsal.rehearse, set[str]()

    def rehearsed(method: str, dataset: Any, *, told: Any = None, **more: Any) -> None:
        train, test = dataset.train, dataset.test
        persons = None if train.persons_N is None else train.units
        seen = dataset.name, len(train), len(test), train.shape, train.class_names, persons
        asked = [getattr(told, name, None) for name in ("tuned_on", "chosen_among", "release")]
        if (key := repr((method, seen, asked, sorted(more.items())))) not in done:
            rehearse(method, dataset, told=told, **more)
            done.add(key)

    ours = [module for name, module in sys.modules.items() if name.startswith("raysyn.")]
    once = {work_out: remembered(work_out) for work_out in (
        memory.gradient_bytes, memory.call_bytes, needs.naming_need, gan_needs.game_needs
    )}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for work_out, instead in {**once, rehearse: rehearsed}.items():
            for module in ours:
                if vars(module).get(work_out.__name__) is work_out:
                    patch.setattr(module, work_out.__name__, instead)
        patch.setattr(trial, "ROUNDS", 1)
        patch.setattr(outlook, "LONG_S", 1e-9)
        yield


@pytest.fixture(autouse=True, scope="session")
def seeds_of_this_machine_alone() -> Iterator[None]:
    """torch.manual_seed seeds accelerators that may come up later too, and keeps a picture of the stack for each of
    three kinds of them, which takes a hundred times as long as the seed."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        for kind in (torch.cuda, torch.xpu, torch.mtia):
            if not kind.is_available():
                patch.setattr(kind, "manual_seed_all", lambda seed: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_disks() -> Iterator[None]:
    """No test pulls a plug: a process that is killed leaves behind what it has written, flushed to disk or not, and a
    tiny run flushes some hundred files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def no_charts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where nobody looks at them, which take a fifth of a run that ends with an attack: a module that looks at its
    charts says so, and tests of the report look."""
    from raysyn.report import figures

    looks = getattr(request.module, "LOOKS_AT_CHARTS", False) or "/report/" in str(request.path)
    with pytest.MonkeyPatch.context() as patch:
        if not looks:
            patch.setattr(figures, "uri", lambda figure: "data:image/svg+xml;base64,")
        yield


@pytest.fixture(autouse=True, scope="module")
def as_few_passes_as_asked_for(request: pytest.FixtureRequest) -> Iterator[None]:
    """Classifiers that judge a tiny run get twenty passes where one is asked for, in a process that trains them for
    each of hundreds of runs. Tests of whole runs ask that they are trained, not how well: that is tested where they
    are, in the rooms of metrics and of training."""
    from raysyn.train import classifier

    rooms = (ROOT / "tests/methods", ROOT / "tests/examples")
    whole_runs = request.path.parent == ROOT / "tests" or any(map(request.path.is_relative_to, rooms))
    with pytest.MonkeyPatch.context() as patch:
        if whole_runs:
            patch.setattr(classifier, "MOST_PASSES", 1)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets as Parquet files; tests that need it are skipped where there is none."""
    folder = Path(os.environ.get("RAYSYN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set RAYSYN_DATA)")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray cluster of two CPUs for all tests; `connect` and `OnRay` inside it use it.

    With one board for all, which would otherwise cost each a process; and nobody reads the logs of its workers here.
    Workers that wait for work stay, also where a stage would have one of its own: what the next test starts would
    import for seconds.
    """
    from ray._private.node import Node

    from raysyn.on_ray import cluster, train

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_idle_worker_killing_time_threshold_ms", str(10**7))
        patch.setattr(Node, "start_log_monitor", lambda self: None)
        patch.setattr(cluster, "new_board", functools.cache(cluster.new_board))
        patch.setattr(train, "CALLS_OF_A_PROCESS", 0)
        with cluster.session("local", cpus=2):
            yield


@pytest.fixture()
def group_of_tasks(ray_session: None, tmp_path: Path) -> Iterator[None]:
    """On that cluster, stages of several workers run without Ray Train: see tests/groups.py."""
    from groups import in_tasks

    with in_tasks(tmp_path):
        yield


def shared_by_processes(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder of this session's, the same one in all of its processes."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True, scope="session")
def glyphs_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Built-in letters take seconds to draw, in each empty cache anew."""
    import fcntl

    import numpy as np

    from raysyn.data import glyphs

    folder, draw = shared_by_processes(tmp_path_factory, "glyphs"), glyphs._drawn

    @functools.cache
    def drawn(size: int, letters: str, per_class: int) -> np.ndarray:
        file = folder / f"{size}_{per_class}.npy"
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                np.save(file, draw(size, list(letters), per_class))
        return np.load(file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "_drawn", lambda size, letters, per_class: drawn(size, "".join(letters), per_class))
        yield


@pytest.fixture(scope="session")
def drawn_letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that leaves nothing behind, with built-in public letters in it: they take seconds to draw. One for all
    processes."""
    from raysyn.data.public import load_public
    from raysyn.data.streams import PublicConfig

    cache = shared_by_processes(tmp_path_factory, "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSYN_CACHE", str(cache))
        load_public(PublicConfig(), (8, 8, 1))
    return cache


@pytest.fixture(scope="module")
def letters(drawn_letters: Path) -> Iterator[None]:
    """For all tests of a module, the cache is that one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYSYN_CACHE", str(drawn_letters))
        yield
