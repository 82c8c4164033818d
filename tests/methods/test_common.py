"""What the methods share of opening a run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from raysyn.compute import Machines
from raysyn.methods.common import apart
from raysyn.runs import RunFolder


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
