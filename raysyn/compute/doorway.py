"""The doorway between algorithms and machines: what a training worker can do, and who runs it.

Algorithms import only this file. `raysyn.compute.local` answers in this process, `raysyn.on_ray` with a Ray cluster.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from raysyn.compute import peak
from raysyn.compute.searches import Outcome, Search, Space
from raysyn.compute.told import Sentence, Told

Show = Callable[[str, int, int, dict[str, float]], None]
"""show(stage, done, total, metrics): draws progress; called at most a few times a second.

A total of 0 says that nothing is counted yet; `stage` may then end with `: ` and what is being done, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where a run happens. Nothing here changes the result beyond floating-point rounding."""

    address: str = "local"
    """`local` starts Ray on this machine (inside `ray job submit`: joins the cluster around it), `auto` joins
    the running cluster, `host:port` the one there. `here` does without Ray: all in this process, one after another."""
    workers: int | None = None
    """Training workers; by default one per GPU of the cluster, without GPUs one per CPU up to 4. Where an autoscaler
    adds nodes, say how many, and what each of them needs: what is there at the start decides nothing then."""
    gpus_per_worker: float | None = None
    """GPUs of each worker; by default 1 where the cluster has GPUs, else 0."""
    cpus_per_worker: int | None = None
    """CPUs (and threads) of each worker; by default the CPUs divided by the workers."""
    gpus_per_unit: float | None = None
    """GPUs of each unit of a fan-out (one shadow model, one trial); a fraction lets several share one. By default
    as much as a worker has, at most 1."""
    storage: str | None = None
    """Folder or pyarrow file-system URI that every node reaches, by default inside --out. It holds what internal/
    holds (unreleased states, figures measured on private images): protect it alike."""
    temp: str | None = None
    """Folder of this machine for sockets and logs of the cluster that starts with the run, gone with it; by default
    $TMPDIR, or /tmp. A short path, because Ray's sockets leave room for 20 characters."""
    spill: str | None = None
    """Folder of this machine where that cluster puts what memory has no room for, sensitive images among it, gone with
    the run; by default inside `temp`."""

    def __post_init__(self) -> None:
        """ValueError for what no machine can give: known before one is asked."""
        for field in ("workers", "cpus_per_worker", "gpus_per_worker", "gpus_per_unit"):
            whole, value = field in ("workers", "cpus_per_worker"), getattr(self, field)
            if value is not None and (isinstance(value, bool) or not isinstance(value, Integral if whole else Real)):
                raise ValueError(f"on.{field} is {value!r}: give a {'whole ' if whole else ''}number, or leave it out")
        for field in ("workers", "cpus_per_worker"):
            if (count := getattr(self, field)) is not None and count < 1:
                raise ValueError(f"on.{field} is {count}: give at least 1, or leave it out")
        if (each := self.gpus_per_worker) is not None and not (0 <= each <= 1 or (each > 1 and each % 1 == 0)):
            raise ValueError(f"on.gpus_per_worker is {each:g}: give 0, a part of one, or a whole number of GPUs")
        if self.gpus_per_unit is not None and not 0 <= self.gpus_per_unit <= 1:
            raise ValueError(
                f"on.gpus_per_unit is {self.gpus_per_unit:g}: a unit uses a GPU or a part of one: give 0 to 1"
            )
        if self.address == "here" and (self.workers or 1) > 1:
            raise ValueError(f"on.workers is {self.workers}, but `here` is one process: leave it out")
        if not self.address:
            raise ValueError("on.address is empty: give local, here, auto, or host:port of a cluster")


def machines_of(on: Mapping[str, Any]) -> Machines:
    """Those that a mapping of the flags of --on.* asks for; ValueError, in one sentence, for one that is none."""
    known = [field.name for field in fields(Machines)]
    if not isinstance(on, Mapping):
        raise ValueError(in_a_mapping("on", on, known))
    given = {name.replace("-", "_"): value for name, value in on.items()}
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"on.{unknown[0]} is no flag: there are {', '.join(known)}")
    return Machines(**given)


def in_a_mapping(name: str, value: Any, known: Sequence[str]) -> str:
    """The sentence for one value where a group of flags has several: on='here' for on={'address': 'here'}, say."""
    example = f"{known[0]!r}: {value!r}" if name == "on" and isinstance(value, str) else f"{known[0]!r}: ..."
    said = repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return f"{name} is {said}: give its flags by their names, as in {name}={{{example}}}, or leave it out"


class Compute(ABC):
    """Four verbs over machines: train, once, map, search."""

    workers: int
    """Ranks on which `train` calls its function."""
    device: str
    """`cpu` or `cuda`: where they compute."""

    @abstractmethod
    def at_once(self) -> int:
        """Units of a `map` that can run at the same time."""

    @abstractmethod
    def train(self, f: Callable[..., Any], *args: Any, name: str, alone: bool = False) -> Any:
        """Call module-level `f(worker, *args)` on every rank (`alone`: on one) and return rank 0's answer.

        The answer is tensors and plain values, or classes declared to `torch.serialization.add_safe_globals`.
        Arrays among `args` may be read-only (they are shared between the workers of a machine). What `f`
        raises is raised here.
        A killed worker is replaced and `f` starts again, finding its last state with `worker.resume()`.
        """

    @abstractmethod
    def once(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        """`train` for what a single rank does in minutes: without a group of workers, which takes long to form."""

    @abstractmethod
    def map(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None,
        together: int | None = None, keys: Sequence[str] | None = None, sizes: Sequence[int] | None = None,
    ) -> list[Any]:  # fmt: skip
        """`[f(item, shared) for item in items]`, fanned out; order kept, failures named.

        With `together`, f is given a list of up to so many items and answers with a list of results.
        Each result (tensors and plain values) is durable under `name` the moment it exists, so that a rerun
        does only what is missing. `keys` (file names, all different) say which result is whose; without them the
        places in `items` do, and a rerun must have the same items in the same order. `sizes` say how much each item
        counts in progress (the images of a shard, say), by default 1. A unit runs with one thread on
        Ray. Errors: RuntimeError naming the units that failed, once all others are done.
        """

    @abstractmethod
    def search(self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any) -> list[Outcome]:
        """Call `f(worker, params, shared)` for parameters out of `space`; the outcomes, best first.

        Each trial has a worker of its own, alone, and reports by `worker.progress`, with `search.metric` among the
        figures. Without `search.trials` every combination is tried. With it a tree-structured Parzen estimator
        proposes, and asynchronous Hyperband stops trials that fall behind. A killed worker's trial goes on from its
        last `save`, a killed driver's search with the trials it has. Errors: RuntimeError naming a failed trial.
        """

    @abstractmethod
    def kept(self, key: str) -> Any:
        """What a worker of this run kept under `key`."""

    @abstractmethod
    def cpu_s(self) -> float:
        """CPU seconds used so far by this process and by every worker that has reported back."""

    def forget_peaks(self) -> None:
        """What `peaks` tells begins anew."""
        peak.forget()

    def peaks(self) -> dict[str, int]:
        """The most memory that one process has held since `forget_peaks`, this one or a worker that has reported back;
        see `peak.held`."""
        return peak.held()


def unit_failure(name: str, failures: Mapping[int, str], units: int) -> RuntimeError:
    """The error `map` ends with: which units failed, and the first traceback of one; Told where all have a sentence."""
    first, text = min(failures.items(), key=lambda one: (isinstance(one[1], Sentence), one[0]))
    others = f" ({len(failures)} of {units} units failed: {sorted(failures)})" if len(failures) > 1 else ""
    if isinstance(text, Sentence):
        return Told(f"{name}, unit {first} of {units} failed{others}: {text}")
    return RuntimeError(f"{name}, unit {first} of {units} failed{others}: {text.strip().splitlines()[-1]}\n{text}")


def trial_failure(name: str, failed: int, first: Mapping[str, Any], why: str) -> RuntimeError:
    """The error `search` ends with: of how many trials, and what the `first` of them, its parameters, failed with."""
    kind = Told if isinstance(why, Sentence) else RuntimeError
    return kind(f"{name}: {failed} trial{'s' if failed > 1 else ''} failed, the first, of {dict(first)}, with {why}")


@dataclass(frozen=True)
class Watched:
    """A `Show` of a run that says which of its stages touch private images, for whoever is told of them outside."""

    show: Show
    private: frozenset[str]

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        self.show(stage, done, total, metrics)


OF_NOTHING_PRIVATE = frozenset(("query", "pretrain", "warmup", "generator", "align", "synthesise"))
"""Stages that look at no private image where the plan has none of the name."""
FEWEST_STEPS = 20
"""Of DP-SGD, between two that are told outside."""


class Outside:
    """What trackers and a cluster's metrics, which are looked at by many, may be told of progress: how far a stage is,
    and the epsilon that it brings the run to. Nothing that was measured on private images.

    Of stages that touch these, the plan's own, its experiments and what judges the images by real ones, only the end,
    and steps of a new epsilon, some apart: shares in between would tell how many images all persons have together, and
    how long a few steps take how many images were drawn for them. No epsilon of experiments, which the release does not
    cost.
    """

    def __init__(self, private: frozenset[str] | None) -> None:
        """`private` are the stages of the plan; empty or None where the run has none."""
        self._private = private or frozenset()
        self._last = dict[str, tuple[float, int]]()

    def told(
        self, stage: str, done: int, total: int, metrics: Mapping[str, float]
    ) -> tuple[str, int, dict[str, float]] | None:
        """(stage, step, {"progress", and where it is known "epsilon"}), or None where nothing is told."""
        name = stage.partition(":")[0].partition("-")[0]
        epsilon = metrics.get("epsilon")
        if not total:
            return None
        figures = {"progress": done / total} | ({} if epsilon is None else {"epsilon": epsilon})
        if not self._private or (name in OF_NOTHING_PRIVATE and name not in self._private):
            return name, done, figures
        if name not in self._private or epsilon is None:
            return (name, 1, {"progress": 1.0}) if done == total else None
        before, step = self._last.get(name, (0.0, 0))
        if done < total and (epsilon == before or min(abs(done - step), total - done) < FEWEST_STEPS):
            return None
        self._last[name] = epsilon, done
        return name, done, figures


def silent(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
    """A `Show` that shows nothing."""


def digest(*told: Any) -> str:
    """A short name for all that an answer depends on, under which it is stored and found again."""
    return hashlib.sha256(repr(told).encode()).hexdigest()[:8]


def unit_files(name: str, count: int, keys: Sequence[str] | None) -> list[str]:
    """Where storage keeps the results of a `map`."""
    keys = [f"{index:06d}" for index in range(count)] if keys is None else keys
    assert len(set(keys)) == count, f"{name}: {count} items need as many different keys"
    return [f"units/{name}/{key}.pt" for key in keys]


class Tally:
    """How far a `map` is: what the done ones of its items count together, of how much."""

    def __init__(self, name: str, count: int, sizes: Sequence[int] | None, show: Show) -> None:
        self._name, self._sizes, self._show = name, [1] * count if sizes is None else list(sizes), show
        assert len(self._sizes) == count, f"{name}: {count} items have {len(self._sizes)} sizes"
        self._done = 0

    def add(self, indices: Sequence[int], **metrics: float) -> None:
        """These are done; show it."""
        self._done += sum(self._sizes[index] for index in indices)
        self._show(self._name, self._done, sum(self._sizes), metrics)

    def within(self, stage: str, done: int, total: int) -> None:
        """One that is not done yet is so far; show it."""
        self.add([], **{f"{stage}_share": done / max(1, total)})


def groups(indices: Sequence[int], together: int | None) -> list[list[int]]:
    """`indices` in consecutive groups of at most `together` (None: one each)."""
    size = together or 1
    return [list(indices[at : at + size]) for at in range(0, len(indices), size)]


def answers_of(f: Callable[[Any, Any], Any], items: Sequence[Any], shared: Any, together: int | None) -> list[Any]:
    """The results of one group of items; TypeError where `f` did not answer for each."""
    if together is None:
        return [f(items[0], shared)]
    values = list(f(list(items), shared))
    if len(values) != len(items):
        raise TypeError(f"{len(items)} items together gave {len(values)} results")
    return values


class NotStarted(Told):
    """Machines that did not come in time."""
