"""Runs that stop half way, and what they release in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from raysyn.compute.local import Local
from raysyn.privacy.ledger import Ledger


class StopsInTraining(Local):
    """A machine that dies while the generator learns."""

    def __init__(self, storage: Path) -> None:
        super().__init__(storage, self.watch)

    def watch(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if (stage, done) in (("generator", 10), ("functions", 4)):
            raise KeyboardInterrupt


def released(out: Path) -> dict[str, bytes]:
    return {name: (out / "release" / name).read_bytes() for name in ("synthetic.parquet", "samples.png")}


def continues_to_the_same_bytes(
    run: Callable[..., Any], stages: Sequence[str], whole: Path, out: Path, monkeypatch: pytest.MonkeyPatch,
    trained: Sequence[str] = (),
) -> None:  # fmt: skip
    """run(out[, compute]) is stopped when the answer of each stage is paid for and not yet stored, and again while the
    generator learns, before the `trained` ones among them are paid for; it ends as that in `whole` did."""
    secret, pay = (whole / "internal/secret").read_bytes(), Ledger.pay
    monkeypatch.setattr("raysyn.runs.folder.os.urandom", lambda n: secret[:n])

    def stops_at(stopped: str) -> None:
        def paid(self: Ledger, stage: str, release: Any) -> Any:
            value = pay(self, stage, release)
            if stage == stopped:
                raise KeyboardInterrupt
            return value

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Ledger, "pay", paid)
            run(out)

    for stage in stages:
        stops_at(stage)
    monkeypatch.setattr("time.monotonic", iter(range(10**6)).__next__)
    with pytest.raises(KeyboardInterrupt):
        run(out, StopsInTraining)
    for stage in trained:
        stops_at(stage)
    run(out)
    assert released(out) == released(whole)
    assert len((out / "internal/ledger.jsonl").read_text().splitlines()) == len(stages) + len(trained)
