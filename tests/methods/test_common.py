"""What the methods share of opening a run."""

from __future__ import annotations

import io
import os
import stat
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysyn.compute.doorway import Compute, Machines
from raysyn.compute.local import Local
from raysyn.data.images import Dataset, Images
from raysyn.methods.common import PrivateSetting, _by_plain_name, apart, open_run
from raysyn.methods.machines import On
from raysyn.methods.method import Method, Prepared
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Plan, Release
from raysyn.runs.folder import RunFolder
from raysyn.screen.console import Console


def test_runs_that_share_a_storage_have_places_of_their_own_that_are_private(tmp_path: Path) -> None:
    def start(name: str) -> RunFolder:
        return RunFolder.open(tmp_path / name, method="m", preset="p", config={}, data_fingerprint="f")

    before = os.umask(0o022)
    try:
        with start("one") as one, start("two") as two:
            shared = Machines(storage=str(tmp_path / "storage"))
            first, second, again = (apart(shared, folder).storage for folder in (one, two, one))
            assert first == again != second and Path(first).parent == Path(second).parent == tmp_path / "storage"
            assert stat.S_IMODE(os.stat(first).st_mode) == 0o700
            assert (
                apart(Machines(storage="s3://bucket/x?region=a"), one).storage == f"s3://bucket/x/{one.run_id}?region=a"
            )
            assert apart(Machines(), one) == Machines()
    finally:
        os.umask(before)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a command line gave."""

    seed: int = 0
    eval: EvalConfig = field(default_factory=EvalConfig)


def dataset(brightness: int = 0) -> Dataset:
    images = Images(np.full((4, 8, 8, 1), brightness, np.uint8), np.arange(4, dtype=np.int64) % 2, ("a", "b"))
    return Dataset("made up", images, images, None)


QUERY = Cost(mechanism="query", noise_multiplier=5.0, sampling_rate=0.5, steps=2)
PLAN = Plan(stages={"central": QUERY}, delta=1e-3, accountant="rdp", epsilon_budget=10.0)


def opened(out: Path, stack: ExitStack, **changed: Any) -> PrivateSetting:
    """A private run begun or continued in `out`, as a job does it but without machines, where some things changed."""
    given = {"config": Config(), "dataset": dataset(), "plan": PLAN, "facts": {"public": "p"}} | changed

    def connect(_: Machines, storage: str, show: Any) -> nullcontext[Compute]:
        return nullcontext(Local(storage, show))

    command = SimpleNamespace(
        seal=False, track="none", preset="tiny", config=given["config"], machines=On(), out=str(out)
    )
    setting = open_run(
        command, "m", given["dataset"], Console(io.StringIO()), connect, stack, plan=given["plan"], facts=given["facts"]
    )
    assert isinstance(setting, PrivateSetting)
    return setting


def planned(**changes: Any) -> Plan:
    return replace(PLAN, stages={"central": replace(QUERY, **changes)})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"plan": planned(noise_multiplier=6.0)}, r"plan\.central\.noise_multiplier = 5\.0"),
        ({"plan": planned(sampling_rate=0.25)}, r"plan\.central\.sampling_rate = 0\.5"),
        ({"plan": planned(steps=1)}, r"plan\.central\.steps = 2"),
        ({"plan": replace(PLAN, stages={**PLAN.stages, "finetune": QUERY})}, r"plan\.finetune"),
        ({"facts": {"public": "q"}}, "public = p"),
        ({"config": Config(seed=1)}, "seed = 0"),
        ({"dataset": dataset(1)}, "a run on other images"),
        ({"dataset": replace(dataset(), test=dataset(1).train)}, "a run on the same training images and other test"),
    ],
)
def test_trap_30_a_run_is_not_continued_under_another_plan_nor_on_other_images(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    """Any of them would be answered with noise that has answered already: what is not paid yet is refused, too."""
    with ExitStack() as stack:
        opened(tmp_path, stack)
    before = (tmp_path / "internal/run.json").read_bytes()
    with ExitStack() as stack, pytest.raises(ValueError, match=words):
        opened(tmp_path, stack, **changed)
    assert (tmp_path / "internal/run.json").read_bytes() == before


def test_a_run_continues_with_its_plan_and_its_ledger_and_may_be_judged_anew(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = opened(tmp_path, stack)
        assert first.plan is first.ledger.plan is PLAN and first.ledger.pay("central", Release(7, QUERY)) == 7
        secret = first.folder.secret
    with ExitStack() as stack:
        again = opened(tmp_path, stack, config=Config(eval=EvalConfig(epochs=1)))
        assert [entry["stage"] for entry in again.ledger.entries()] == ["central"] and again.folder.secret == secret


def test_refused_machines_leave_nothing_of_a_run_that_has_not_begun(tmp_path: Path) -> None:
    def refuse(*_: Any) -> nullcontext[Compute]:
        raise ValueError("on.address is 'auto', and nothing answers there")

    command = SimpleNamespace(
        seal=False, track="none", preset="tiny", config=Config(), machines=On(), out=str(tmp_path / "run")
    )
    again = (command, "m", dataset(), Console(io.StringIO()))
    with ExitStack() as stack, pytest.raises(ValueError, match="nothing answers"):
        open_run(*again, refuse, stack, plan=PLAN)
    assert not (tmp_path / "run").exists()

    # One that has begun is kept, whatever is refused later.
    with ExitStack() as stack:
        secret = opened(tmp_path / "run", stack).folder.secret
    with ExitStack() as stack, pytest.raises(ValueError, match="nothing answers"):
        open_run(*again, refuse, stack, plan=PLAN, facts={"public": "p"})
    assert (tmp_path / "run/internal/secret").read_bytes() == secret


def test_a_file_that_may_not_leave_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    def of(file: str, plan: Plan | None) -> Method:
        return Method(
            name="m", prepare=lambda _: Prepared(dataset=dataset(), plan=plan), run=lambda _: None, files=(file,)
        )

    command = SimpleNamespace(
        seal=False, track="none", preset="tiny", config=Config(), machines=On(), out=str(tmp_path / "run"),
        dry_run=False,
    )  # fmt: skip
    for file, why in (("student.pt", "may not leave of a run with a promise"), ("notes.txt", "is not among")):
        with ExitStack() as stack, pytest.raises(ValueError, match=why):
            of(file, PLAN).begin(command, Console(io.StringIO()), lambda *_: nullcontext(), stack)
    assert not (tmp_path / "run").exists()
    assert of("student.pt", None)._prepared(Config(), Console(io.StringIO())).plan is None


def test_two_ways_of_one_measure_add_their_times_and_not_their_memory() -> None:
    both = {
        "fidelity-1": {"wall_s": 1.0, "memory_bytes": 5}, "fidelity-2": {"wall_s": 2.0, "memory_bytes": 3},
        "floor": {"wall_s": 1.0},
    }  # fmt: skip
    assert _by_plain_name(both) == {"fidelity": {"wall_s": 3.0, "memory_bytes": 5}, "floor": {"wall_s": 1.0}}
