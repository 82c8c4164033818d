"""Searching through real Ray Tune: grids, TPE with pruning, workers that die."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
import stages
from groups import one_trial_at_a_time

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.compute.searches import Between, Search
from raysyn.compute.told import Told
from raysyn.on_ray.cluster import OnRay
from raysyn.on_ray.search import Searcher

MACHINES = Machines(workers=1, gpus_per_worker=0)


@pytest.mark.parametrize("scheme", ["", pytest.param("fsspec+file://", marks=pytest.mark.slow)])
def test_a_grid_tells_of_errors_and_goes_on_to_try_everything_though_a_worker_is_killed(
    ray_session: None, tmp_path: Path, scheme: str
) -> None:
    """One trial after the other: each process of Ray Tune imports for seconds. Below, two are beside each other."""
    told: list[tuple[Any, ...]] = []
    space, search = {"x": [0.25, 0.9]}, Search(metric="score", reports=9)
    compute = OnRay(MACHINES, f"{scheme}{tmp_path}/store", lambda *all_: told.append(all_))
    before = stages.objects()
    # An error ends its trial at once.
    failed = r"grid: 2 trials failed, the first, of \{.*in strike\n.*stage\.rate is 3: choose less"
    with one_trial_at_a_time(), pytest.raises(RuntimeError, match=f"(?s){failed}"):
        compute.search(stages.climb, space, search, name="grid", shared=(str(tmp_path), "error"))
    assert len(list(tmp_path.glob("error.*"))) == 2 and begun(tmp_path) == ["0", "0"]
    assert len(list(tmp_path.glob("report.*"))) == 10
    # The same search goes on from report 5, and after a kill at report 7 from there.
    with one_trial_at_a_time():
        found = compute.search(stages.climb, space, search, name="grid", shared=(str(tmp_path), "killed"))
    assert [outcome.params["x"] for outcome in found] == [0.25, 0.9]
    assert all(outcome.reports == 9 and not outcome.pruned for outcome in found)
    assert told[-1][:3] == ("grid", 2, 2) and told[-1][3]["best_score"] == found[0].score
    assert begun(tmp_path) == ["0", "0", "5", "5", "7"]
    reports = len(list(tmp_path.glob("report.*")))
    assert reports == 2 * 9
    # What the trials were given, private images among it, has gone with them, of the search that failed too.
    stages.wait_until(lambda: stages.objects() <= before)
    # The dashboard names actors and trials as Tune names the folders of the trials.
    assert len(list(tmp_path.glob("store/ray/grid-*/raysyn-grid_*"))) == 2 * 2
    # Answered from storage; and alike without Ray.
    stored = OnRay(MACHINES, f"{scheme}{tmp_path}/store").search(
        stages.climb, space, search, name="grid", shared=(str(tmp_path), "")
    )
    assert stored == found and len(list(tmp_path.glob("report.*"))) == reports
    local = Local(tmp_path / "local").search(stages.climb, space, search, name="grid", shared=(str(tmp_path), ""))
    assert local == found


@pytest.mark.parametrize("where", [pytest.param("ray", marks=pytest.mark.slow), "local"])
def test_a_trial_that_ends_with_a_sentence_ends_the_search_with_it(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "ray":
        request.getfixturevalue("ray_session")
    compute = OnRay(MACHINES, tmp_path / "store") if where == "ray" else Local(tmp_path / "store")
    search = Search(metric="score", reports=9)
    with pytest.raises(Told, match=r"stage\.rate is 4: choose less$"):
        compute.search(stages.climb, {"x": [0.25]}, search, name="told", shared=(str(tmp_path), "told"))


def begun(folder: Path) -> list[str]:
    """The reports after which trials have begun."""
    return sorted(path.name.split("-at-")[1].split(".")[0] for path in folder.glob("trial-*"))


@pytest.mark.parametrize("where", [pytest.param("ray", marks=pytest.mark.slow), "local"])
def test_tpe_prunes_what_falls_behind_and_knows_what_it_was_told(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "ray":
        request.getfixturevalue("ray_session")
    compute = OnRay(MACHINES, tmp_path / "store") if where == "ray" else Local(tmp_path / "store")
    space = {"x": Between(-3.0, 3.0), "n": Between(1, 4, whole=True)}
    search = Search(metric="score", reports=9, trials=12, seed=1, known=(({"x": 0.5, "n": 2}, 0.96),))
    found = compute.search(stages.climb, space, search, name="tpe", shared=(str(tmp_path), ""))
    assert len(found) == 12 and {"x": 0.5, "n": 2} not in [outcome.params for outcome in found]
    whole = [outcome for outcome in found if not outcome.pruned]
    assert 1 <= len(whole) < 12 and found[: len(whole)] == whole
    assert found[0].score > 0.5 and isinstance(found[0].params["n"], int)
    assert sum(outcome.reports for outcome in found) == len(list(tmp_path.glob("report.*")))


def test_the_estimator_is_told_which_trials_were_stopped() -> None:
    """Not that they ended with what they had reached by then: as `Local` tells it."""
    searcher = Searcher(9, {"x": optuna.distributions.FloatDistribution(0, 1)}, metric="score", mode="max")
    for name, reports in (("stopped", 4), ("whole", 9)):
        searcher.suggest(name)
        for done in range(1, reports + 1):
            result = {"score": 0.1 * done, "training_iteration": done, "reports": done}
            searcher.on_trial_result(name, result)
        searcher.on_trial_complete(name, result)
    searcher.suggest("failed")
    searcher.on_trial_complete("failed", error=True)
    # As a later driver tells it.
    searcher.add_evaluated_point({"x": 0.5}, 0.4, pruned=True, intermediate_values=[0.4] * 5)
    stopped, whole, failed, again = searcher._ot_study.trials
    assert [one.state.name for one in (stopped, whole, failed, again)] == ["PRUNED", "COMPLETE", "FAIL", "PRUNED"]
    assert max(stopped.intermediate_values.items()) == max(again.intermediate_values.items()) == (4, pytest.approx(0.4))
    assert whole.value == pytest.approx(0.9)
