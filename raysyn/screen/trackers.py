"""Trackers of experiments (`--track`): what a run is, how far, and its epsilon.

Nothing that was measured on private images: no loss, no gradient norm, no accuracy. A tracker is looked at by many, and
no certificate covers what it would tell them.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

Kind = Literal["none", "tensorboard", "mlflow"]
Show = Callable[[str, int, int, dict[str, float]], None]
Outside = Callable[[str, int, int, Mapping[str, float]], tuple[str, int, dict[str, float]] | None]
"""outside(stage, done, total, metrics): what of progress may be told, (stage, step, figures), or None."""
EVERY_S, PATIENCE_S = 2.0, 10.0
"""A tracker may be a server: not every step is told, and at its end a run waits so long for what is not told yet."""
EXPERIMENT = "raysyn"
_SAME_RUN = "mlflow-run"
_SERVER = "MLFLOW_TRACKING_URI"
Ended = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """A package that keeps figures of runs."""

    def about(self, facts: Mapping[str, str]) -> None:
        """What the run is; told again when it is continued."""

    def figure(self, name: str, value: float, step: int) -> None:
        """One point of one curve."""

    def close(self, ended: Ended) -> None:
        """The run has ended, or was stopped."""


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir` shows them."""

    def __init__(self, internal: Path, run: str) -> None:
        # Imported where it is used, not above: it takes seconds.
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(internal / "tensorboard" / run))  # type: ignore[no-untyped-call]

    def about(self, facts: Mapping[str, str]) -> None:
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
        self._writer.add_text("run", f"| | |\n|---|---|\n{rows}")

    def figure(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)

    def close(self, ended: Ended) -> None:
        self._writer.close()


class MLflow:
    """A run of the experiment `raysyn` at the server of MLFLOW_TRACKING_URI; a continued run goes on with it."""

    def __init__(self, internal: Path, run: str) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self._client: Any = MlflowClient()
        known = internal / _SAME_RUN
        if known.exists():
            # Where somebody has deleted it, or the server is another one, a new one begins.
            with suppress(MlflowException):
                self._run = known.read_text()
                self._client.update_run(self._run, status="RUNNING")
                return
        there = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = self._client.create_experiment(EXPERIMENT) if there is None else there.experiment_id
        self._run = self._client.create_run(experiment, run_name=run).info.run_id
        known.write_text(self._run)

    def about(self, facts: Mapping[str, str]) -> None:
        for name, value in facts.items():
            self._client.set_tag(self._run, name, value)

    def figure(self, name: str, value: float, step: int) -> None:
        self._client.log_metric(self._run, name, value, step=step)

    def close(self, ended: Ended) -> None:
        self._client.set_terminated(self._run, ended)


KINDS: dict[Kind, Callable[[Path, str], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def check(kind: Kind) -> None:
    """ValueError, in one sentence, for a tracker that cannot be had here; asks no server."""
    if kind == "none":
        return
    if find_spec(kind) is None:
        raise ValueError(f"track is {kind}, which is not installed: `pip install raysyn[{kind}]`, or leave it out")
    if kind == "mlflow" and not os.environ.get(_SERVER):
        raise ValueError(f"track is mlflow, but {_SERVER} names no server: set it, e.g. to http://HOST:5000")


class Told:
    """A `compute.Show` that tells a tracker, too, from a thread of its own, which no run waits for. The tracker is
    opened with the first figure, so that a command that is refused leaves nothing; one that fails is left alone."""

    def __init__(self, opened: Callable[[], Tracker], show: Show, say: Callable[[str], None], outside: Outside) -> None:
        """`opened` is the tracker once it knows what the run is."""
        self._opened, self._show, self._say, self._outside = opened, show, say, outside
        self._todo: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._told_at = dict[str, float]()

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        self._show(stage, done, total, metrics)
        told = self._outside(stage, done, total, metrics)
        if told is None or not self._is_news(told[0], done, total):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, daemon=True, name="raysyn-tracker")
            self._thread.start()
        name, step, figures = told
        for figure, value in figures.items():
            self._todo.put(partial(_one, name=f"{figure}/{name}", value=value, step=step))

    def _is_news(self, name: str, done: int, total: int) -> bool:
        now = time.monotonic()
        if done < total and now - self._told_at.get(name, -EVERY_S) < EVERY_S:
            return False
        self._told_at[name] = now
        return True

    def _tell(self) -> None:
        try:
            tracker = self._opened()
            while (one := self._todo.get()) is not None:
                one(tracker)
        except Exception as error:  # whatever a package or its server raises: no run is lost by it
            self._say(f"The tracker does not answer, and is left alone: {_first_line(error)}")

    def close(self, ended: Ended) -> None:
        """Tell what is left, as far as the tracker takes it in good time."""
        if self._thread is not None:
            self._todo.put(lambda tracker: tracker.close(ended))
            self._todo.put(None)
            self._thread.join(PATIENCE_S)


def _one(tracker: Tracker, name: str, value: float, step: int) -> None:
    tracker.figure(name, value, step)


def _first_line(error: Exception) -> str:
    """Of what it says, without the passwords of addresses."""
    said = [*str(error).strip().splitlines(), type(error).__name__][0]
    return re.sub(r"://[^/\s@]*@", "://", said)


@contextmanager
def tracked(
    kind: Kind, internal: Path, run: str, facts: Mapping[str, str], show: Show, say: Callable[[str], None],
    outside: Outside,
) -> Iterator[Show]:  # fmt: skip
    """`show` that tells a tracker, too, until the block ends; itself where `kind` is none.

    Args:
        internal: the part of the run folder that stays inside.
        run: what the tracker calls the run.
        facts: what the run is, all of it public.
        say: who is told, once, of a tracker that fails.
        outside: what it may be told of progress.
    """
    if kind == "none":
        yield show
        return

    def opened() -> Tracker:
        # Its own seven would take minutes to say that nobody answers.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        tracker = KINDS[kind](internal, run)
        tracker.about(facts)
        return tracker

    told = Told(opened, show, say, outside)
    ended: Ended = "FAILED"
    try:
        yield told
        ended = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        ended = "KILLED"
        raise
    finally:
        told.close(ended)
