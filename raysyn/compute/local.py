"""The verbs of `compute` in this process, one item after the other: the reference that Ray must equal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raysyn.compute.doorway import (
    Compute,
    Show,
    Tally,
    answers_of,
    groups,
    silent,
    trial_failure,
    unit_failure,
    unit_files,
)
from raysyn.compute.heard import heard
from raysyn.compute.searches import (
    Between,
    Outcome,
    Search,
    Space,
    check_space,
    combinations,
    ranked,
    score_of,
    trial_key,
)
from raysyn.compute.told import failure
from raysyn.compute.worker import Alone, best_device
from raysyn.runs.storage import Store


class LocalWorker(Alone):
    """Rank 0 of 1, in this process."""

    def __init__(self, name: str, store: Store, show: Show = silent) -> None:
        super().__init__()
        self._name, self._store, self._show, self._shown_at = name, store, show, 0.0

    def progress(self, done: int, total: int, **metrics: float) -> None:
        now = time.monotonic()
        if done >= total or now - self._shown_at > 0.25:
            self._shown_at = now
            self._show(self._name, done, total, metrics)

    def doing(self, what: str) -> None:
        self._show(f"{self._name}: {what}" if what else self._name, 0, 0, {})

    def save(self, state: dict[str, Any]) -> None:
        self._store[f"checkpoints/{self._name}.pt"] = state

    def resume(self) -> dict[str, Any] | None:
        key = f"checkpoints/{self._name}.pt"
        return self._store[key] if key in self._store else None  # noqa: SIM401 - a store has no get

    def keep(self, key: str, value: Any) -> None:
        self._store[f"kept/{key}.pt"] = value

    def kept(self, key: str) -> Any:
        return self._store[f"kept/{key}.pt"]


class Trial(LocalWorker):
    """The worker of one trial of a search: `tell` hears every report, also those of an earlier process that were made
    before its last state, so that a trial reports first and then saves. One that is pruned saves no more."""

    def __init__(self, name: str, store: Store, tell: Callable[[int, int, dict[str, float]], None]) -> None:
        super().__init__(name, store)
        self._tell, self._told = tell, list[tuple[int, int, dict[str, float]]]()

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self._told.append((done, total, metrics))
        self._tell(done, total, metrics)

    def save(self, state: dict[str, Any]) -> None:
        super().save({"state": state, "told": self._told})

    def resume(self) -> dict[str, Any] | None:
        if (stored := super().resume()) is None:
            return None
        # The search may have been told already, or be a new process that knows nothing: both must end alike.
        for done, total, metrics in stored["told"]:
            self.progress(done, total, **metrics)
        return stored["state"]


class _Pruned(Exception):
    """Ends a trial that fell behind."""


class Local(Compute):
    """Everything in this process."""

    def __init__(self, storage: str | Path, show: Show = silent) -> None:
        self._store, self._show, self.workers = Store(storage), show, 1
        self.device = str(best_device())

    def at_once(self) -> int:
        return 1

    def train(self, f: Callable[..., Any], *args: Any, name: str, alone: bool = False) -> Any:
        return self.once(f, *args, name=name)

    def once(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        return f(LocalWorker(name, self._store, self._show), *args)

    def map(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None,
        together: int | None = None, keys: Sequence[str] | None = None, sizes: Sequence[int] | None = None,
    ) -> list[Any]:  # fmt: skip
        files, tally = unit_files(name, len(items), keys), Tally(name, len(items), sizes, self._show)
        there = set(self._store.names(f"units/{name}"))
        missing = [index for index, file in enumerate(files) if file not in there]
        tally.add(sorted(set(range(len(items))) - set(missing)))
        failures = dict[int, str]()
        for group in groups(missing, together):
            try:
                with heard(tally.within):
                    values = answers_of(f, [items[index] for index in group], shared, together)
                for index, value in zip(group, values, strict=True):
                    self._store[files[index]] = value
                tally.add(group)
            except Exception as error:
                failures.update(dict.fromkeys(group, failure(error)))
        if failures:
            raise unit_failure(name, failures, len(items))
        return [self._store[file] for file in files]

    def search(self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any) -> list[Outcome]:
        # Imported where it is used, not above: who only asks for help must not wait for it.
        import optuna

        check_space(space, search)
        grid = combinations(space) if search.trials is None else []
        study, total, outcomes = _study(space, search), search.trials or len(grid), list[Outcome]()
        for index in range(total):
            asked = study.ask(distributions(space)) if search.trials is not None else None
            outcomes.append(self._try(f, grid[index] if asked is None else asked.params, asked, search, name, shared))
            if asked is not None:
                last = outcomes[-1]
                state = optuna.trial.TrialState.PRUNED if last.pruned else optuna.trial.TrialState.COMPLETE
                study.tell(asked, None if last.pruned else last.score, state)
            self._show(name, index + 1, total, {f"best_{search.metric}": ranked(outcomes)[0].score})
        return ranked(outcomes)

    def _try(
        self, f: Callable[..., Any], params: dict[str, Any], asked: Any, search: Search, name: str,
        shared: Any,
    ) -> Outcome:  # fmt: skip
        """One trial; `asked` is asked whether it goes on, if there is one."""
        last = (0, -math.inf)

        def tell(done: int, total: int, metrics: dict[str, float]) -> None:
            nonlocal last
            last = done, score_of(metrics, search.metric)
            if asked is not None:
                asked.report(last[1], done)
                if done < total and asked.should_prune():
                    raise _Pruned

        try:
            f(Trial(f"{name}-{trial_key(params)}", self._store, tell), params, shared)
        except _Pruned:
            pass
        except Exception as error:
            raise trial_failure(name, 1, params, failure(error)) from None  # it is told whole
        return Outcome(dict(params), last[1], last[0], last[0] < search.reports)

    def kept(self, key: str) -> Any:
        return self._store[f"kept/{key}.pt"]

    def cpu_s(self) -> float:
        return time.process_time()


def distributions(space: Space) -> dict[str, Any]:
    """`space` in Optuna's words."""
    import optuna

    found: dict[str, Any] = {}
    for key, values in space.items():
        if not isinstance(values, Between):
            found[key] = optuna.distributions.CategoricalDistribution(list(values))
        elif values.whole:
            found[key] = optuna.distributions.IntDistribution(int(values.low), int(values.high))
        else:
            found[key] = optuna.distributions.FloatDistribution(values.low, values.high)
    return found


def sampler(search: Search) -> Any:
    """TPE whose first proposals, a third and at most ten, are random."""
    import optuna

    return optuna.samplers.TPESampler(seed=search.seed, n_startup_trials=min(10, (search.trials or 0) // 3))


def _study(space: Space, search: Search) -> Any:
    """A fresh study that has been told what is known."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.HyperbandPruner(search.first_verdict, search.reports, search.reduction)
    # Named, because Hyperband draws a trial's bracket from the study's name: by default a random one.
    study = optuna.create_study(study_name="search", direction="maximize", sampler=sampler(search), pruner=pruner)
    for params, score in search.known:
        study.add_trial(optuna.trial.create_trial(params=dict(params), distributions=distributions(space), value=score))
    return study
