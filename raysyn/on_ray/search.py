"""`search` on Ray Tune: a grid, or TPE with asynchronous Hyperband; trials and search outlive their processes."""

from __future__ import annotations

import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from raysyn.compute import Between, Outcome, Search, Show, Space, combinations, ranked, trial_key
from raysyn.local import Trial, distributions, sampler
from raysyn.on_ray.process import settle
from raysyn.storage import Store, under

CRASHES = 3
"""Times that a trial is started again."""


class Trials:
    """The trials of one `search`."""

    def __init__(
        self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any, gpus: float, board: Any
    ) -> None:
        self._space, self._search, self._name = space, search, name
        self._common, self._resources = (f, shared, name, search.metric, board), {"cpu": 1, "gpu": gpus}

    def run(self, store: Store, show: Show) -> list[Outcome]:
        """Every trial's outcome, best first; what an earlier driver has finished is not done again."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        trainable = tune.with_resources(
            tune.with_parameters(run_trial, common=(*self._common, store.root)), self._resources
        )
        place = under(store.root, "ray", self._name)
        run_config = tune.RunConfig(
            name=self._name,
            storage_path=under(store.root, "ray"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=CRASHES),
            callbacks=[_Progress(place, self._name, self._search, self._total)],
        )
        _SHOWS[place] = show
        with warnings.catch_warnings():
            # Tune's own use of what Ray and Optuna deprecate: not for our user to mend.
            warnings.simplefilter("ignore")
            if tune.Tuner.can_restore(place):
                tuner = tune.Tuner.restore(place, trainable, resume_unfinished=True, restart_errored=True)
            else:
                tuner = tune.Tuner(
                    trainable, param_space=self._param_space(), tune_config=self._tune_config(), run_config=run_config
                )
            results = tuner.fit()
        if results.errors:
            raise RuntimeError(f"{self._name}: {len(results.errors)} trials failed, the first with {results.errors[0]}")
        return ranked([self._outcome(results[index]) for index in range(len(results))])

    @property
    def _total(self) -> int:
        return self._search.trials or len(combinations(self._space))

    def _param_space(self) -> dict[str, Any] | None:
        if self._search.trials is not None:
            return None  # The searcher knows it.
        return {key: tune.grid_search(list(values)) for key, values in self._space.items()}  # type: ignore[arg-type]

    def _tune_config(self) -> tune.TuneConfig:
        search = self._search
        if search.trials is None:
            return tune.TuneConfig(metric=search.metric, mode="max", reuse_actors=True)
        points, rewards = zip(*search.known, strict=True) if search.known else ((), ())
        return tune.TuneConfig(
            num_samples=search.trials,
            reuse_actors=True,
            # The estimator learns from trials that have ended: all at once it would only guess.
            max_concurrent_trials=max(4, search.trials // 5),
            search_alg=OptunaSearch(
                distributions(self._space),
                metric=search.metric,
                mode="max",
                sampler=sampler(search),
                points_to_evaluate=[dict(point) for point in points] or None,
                evaluated_rewards=list(rewards) or None,
            ),
            scheduler=AsyncHyperBandScheduler(
                time_attr="reports",
                metric=search.metric,
                mode="max",
                # One more than there are: at max_t a trial would be ended before it has stored its last state.
                max_t=search.reports + 1,
                grace_period=search.first_verdict,
                reduction_factor=search.reduction,
                brackets=search.brackets(),
            ),
        )

    def _outcome(self, result: Any) -> Outcome:
        reports = int(result.metrics["reports"])
        params = {key: _plain(value, self._space[key]) for key, value in result.config.items()}
        return Outcome(params, float(result.metrics[self._search.metric]), reports, reports < self._search.reports)


def _plain(value: Any, values: Any) -> Any:
    if isinstance(values, Between):
        return int(value) if values.whole else float(value)
    return value


def run_trial(params: Mapping[str, Any], common: tuple[Any, ...]) -> None:
    """One trial, in a worker process that may have run others before."""
    f, shared, name, metric, board, root = common
    settle(1)
    process, started = uuid.uuid4().hex, time.process_time()

    def tell(done: int, total: int, metrics: dict[str, float]) -> None:
        board.cpu.remote(name, process, time.process_time() - started)
        tune.report({"reports": done, metric: metrics[metric]})

    f(Trial(f"{name}-{trial_key(params)}", Store(root), tell), dict(params), shared)
    ray.get(board.cpu.remote(name, process, time.process_time() - started))


_SHOWS: dict[str, Show] = {}
"""Who draws the progress of the search at a place; a search that is continued brings its callbacks from disk."""


class _Progress(tune.Callback):
    """Draws how many trials have ended and the best figure so far."""

    def __init__(self, place: str, name: str, search: Search, total: int) -> None:
        self._place, self._name, self._metric, self._total = place, name, search.metric, total
        self._best = max((score for _, score in search.known), default=float("-inf"))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._best = max(self._best, result[self._metric])
        self._tell(trials, set())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._tell(trials, {trial.trial_id})  # told before its status is

    def _tell(self, trials: list[Any], just_now: set[str]) -> None:
        ended = len({trial.trial_id for trial in trials if trial.is_finished()} | just_now)
        _SHOWS[self._place](self._name, ended, self._total, {f"best_{self._metric}": self._best})
