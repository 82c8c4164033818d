"""`search` on Ray Tune: a grid, or TPE with asynchronous Hyperband; trials and search outlive their processes."""

from __future__ import annotations

import math
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search.optuna import OptunaSearch

from raysyn.compute.doorway import Show, trial_failure
from raysyn.compute.local import Trial, distributions, sampler
from raysyn.compute.peak import forget, held
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
from raysyn.compute.told import Sentence, Told, failure
from raysyn.on_ray.dashboard import called
from raysyn.on_ray.process import settle
from raysyn.on_ray.scaling import Watch
from raysyn.runs.storage import Store, under

LOSSES = 20
"""Times that a trial goes on from its last state after its process or node was lost; an error of its own ends it."""


HANDED_EVERY_S, ASKED_EVERY_S = 3.0, 0.1
FAILED = "failed"
"""In a trial's last report: the traceback that ended it, or a sentence that tells why."""
TOLD = "told"
"""Whether it is a sentence."""


class Trials:
    """The trials of one `search`."""

    def __init__(
        self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any, gpus: float, board: Any
    ) -> None:
        check_space(space, search)
        self._space, self._search, self._name, self._board = space, search, name, board
        self._common, self._resources = (f, shared), {"cpu": 1, "gpu": gpus}

    def run(self, store: Store, show: Show) -> list[Outcome]:
        """Every trial's outcome, best first; what an earlier driver has finished is not done again.

        What it had is read from our own files: Tune's of an earlier process would have to be unpickled.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        found = [store[key] for key in store.names(f"trials/{self._name}")]
        ended = [Outcome(**one) for one in found if "score" in one]
        begun = [one["params"] for one in found if "score" not in one]
        if len(ended) == self._total:
            show(self._name, self._total, self._total, {})
            return ranked(ended)
        # By the board: what Tune is given with a function, Ray would keep until the driver ends, and private images
        # are among it.
        common = Common(self._board, f"{self._name}-{uuid.uuid4().hex}", [ray.put(self._common)])
        told = (self._name, self._search.metric, self._board, common.key, store.root)

        def trial(config: Mapping[str, Any]) -> None:
            run_trial(config, *told)

        trial.__name__ = called(self._name).replace(" ", "-")  # of the actors, and with a number of the trials
        trainable = tune.with_resources(trial, self._resources)
        bundle = {"CPU": float(self._resources["cpu"]), "GPU": float(self._resources["gpu"])}
        note = partial(self._note, store)
        run_config = tune.RunConfig(
            name=f"{self._name}-{uuid.uuid4().hex[:8]}",
            storage_path=under(store.root, "ray"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=LOSSES),
            callbacks=[
                _Progress(show, Watch(self._name, bundle), common, note, self._name, self._search, ended, self._total)
            ],
        )
        with common, warnings.catch_warnings():
            # Tune's own use of what Ray and Optuna deprecate: not for our user to mend.
            warnings.simplefilter("ignore")
            results = tune.Tuner(
                trainable, param_space=self._param_space(ended), tune_config=self._tune_config(ended, begun),
                run_config=run_config,
            ).fit()  # fmt: skip
        new = [results[index] for index in range(len(results))]
        if failed := [one for one in new if one.error or FAILED in (one.metrics or {})]:
            first, is_told = failed[0], all((one.metrics or {}).get(TOLD) for one in failed)
            why = str(first.error or (first.metrics or {}).get(FAILED))
            params = (first.config or {}).get("params", first.config or {})
            raise trial_failure(self._name, len(failed), params, Sentence(why) if is_told else why)
        return ranked([*ended, *(self._outcome(one.config or {}, one.metrics or {}) for one in new)])

    @property
    def _total(self) -> int:
        return self._search.trials or len(combinations(self._space))

    def _note(self, store: Store, config: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """A trial has ended, and is not tried again, unless it failed."""
        if FAILED in result:
            return
        outcome = self._outcome(config, result)
        store[trial_file(self._name, outcome.params)] = asdict(outcome)

    def _param_space(self, ended: Sequence[Outcome]) -> dict[str, Any] | None:
        if self._search.trials is not None:
            return None  # The searcher knows it.
        done = [one.params for one in ended]
        return {"params": tune.grid_search([one for one in combinations(self._space) if one not in done])}

    def _tune_config(self, ended: Sequence[Outcome], begun: Sequence[dict[str, Any]]) -> tune.TuneConfig:
        search = self._search
        if search.trials is None:
            return tune.TuneConfig(metric=search.metric, mode="max", reuse_actors=True)
        searcher = Searcher(
            search.reports, distributions(self._space), metric=search.metric, mode="max",
            points_to_evaluate=list(begun) or None,
            # Not the proposals that an earlier driver has made.
            sampler=sampler(replace(search, seed=search.seed + len(ended) + len(begun))),
        )  # fmt: skip
        for params, score in search.known:
            searcher.add_evaluated_point(dict(params), score)
        for one in ended:
            so_far = [one.score] * (one.reports + 1) if one.pruned else None  # which Optuna counts from 0
            searcher.add_evaluated_point(dict(one.params), one.score, pruned=one.pruned, intermediate_values=so_far)
        return tune.TuneConfig(
            num_samples=search.trials - len(ended),
            reuse_actors=True,
            # The estimator learns from trials that have ended: all at once it would only guess.
            max_concurrent_trials=max(4, search.trials // 5),
            search_alg=searcher,
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

    def _outcome(self, config: Mapping[str, Any], result: Mapping[str, Any]) -> Outcome:
        reports = int(result["reports"])
        params = {key: _plain(value, self._space[key]) for key, value in config.get("params", config).items()}
        return Outcome(params, float(result[self._search.metric]), reports, reports < self._search.reports)


def trial_file(name: str, params: Mapping[str, Any]) -> str:
    """Where storage keeps what is known of a trial: its parameters, and when it has ended its outcome."""
    return f"trials/{name}/{trial_key(params)}.pt"


def _plain(value: Any, values: Any) -> Any:
    if isinstance(values, Between):
        return int(value) if values.whole else float(value)
    return value


class Searcher(OptunaSearch):
    """Tells the estimator of a trial that was stopped as of one that was: Ray would tell it as ended, with what it had
    reached by then."""

    def __init__(self, reports: int, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._reports = reports

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        stopped = not error and result is not None and int(result.get("reports", self._reports)) < self._reports
        super().on_trial_complete(trial_id, None if stopped else result, error)


class Common:
    """What all trials of a search are given, held by the board while the block lasts."""

    def __init__(self, board: Any, key: str, work: list[Any]) -> None:
        self.key, self._board, self._work, self._handed_at = key, board, work, 0.0

    def __enter__(self) -> Common:
        self.hand()
        return self

    def __exit__(self, *_: object) -> None:
        self._board.forget_group.remote(self.key)
        self._work = []

    def hand(self) -> None:
        """Again and again: a board that is started again has forgotten."""
        if (now := time.monotonic()) - self._handed_at > HANDED_EVERY_S and self._work:
            self._handed_at = now
            self._board.hand.remote(self.key, self.key, self._work)


def given(board: Any, key: str) -> Any:
    """What `Common` holds, in a worker."""
    while True:
        _, work = ray.get(board.handed.remote(key, 0, ""))
        if work:
            return ray.get(work[0])
        time.sleep(ASKED_EVERY_S)


def run_trial(config: Mapping[str, Any], name: str, metric: str, board: Any, key: str, root: str) -> None:
    """One trial, in a worker process that may have run others before."""
    f, shared = given(board, key)
    params, store = dict(config.get("params", config)), Store(root)
    settle(1)
    if (file := trial_file(name, params)) not in store:
        store[file] = {"params": params}
    process, started = uuid.uuid4().hex, time.process_time()
    forget()

    def tell(done: int, total: int, metrics: dict[str, float]) -> None:
        board.cpu.remote(name, process, time.process_time() - started, held())
        tune.report({"reports": done, metric: score_of(metrics, metric)})

    try:
        f(Trial(f"{name}-{trial_key(params)}", store, tell), params, shared)
    except Exception as error:
        # To Tune, all that is raised is worth another attempt.
        tune.report({"reports": 0, metric: -math.inf, FAILED: failure(error), TOLD: isinstance(error, Told)})
    ray.get(board.cpu.remote(name, process, time.process_time() - started, held()))


class _Progress(tune.Callback):
    """Draws how many trials have ended and the best figure so far, and has the ended ones noted."""

    def __init__(
        self, show: Show, watch: Watch, common: Common, note: Callable[[Mapping[str, Any], Mapping[str, Any]], None],
        name: str, search: Search, ended: Sequence[Outcome], total: int,
    ) -> None:  # fmt: skip
        self._show, self._watch, self._common, self._note = show, watch, common, note
        self._name, self._metric, self._before, self._total = name, search.metric, len(ended), total
        scores = [*(score for _, score in search.known), *(one.score for one in ended)]
        self._best, self._cluster = max(scores, default=-math.inf), dict[str, float]()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune keeps its callbacks on disk, from where nobody will fetch this one.

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._best = max(self._best, result[self._metric])
        self._tell(trials, set())

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._common.hand()
        before, self._cluster = self._cluster, self._watch()
        if self._cluster != before:
            self._tell(trials, set())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._note(trial.config, trial.last_result)
        self._tell(trials, {trial.trial_id})  # told before its status is

    def _tell(self, trials: list[Any], just_now: set[str]) -> None:
        ended = self._before + len({trial.trial_id for trial in trials if trial.is_finished()} | just_now)
        best = {f"best_{self._metric}": self._best} if self._best > -math.inf else {}
        self._show(self._name, ended, self._total, best | self._cluster)
