"""A search of Ray Tune from a driver script: how much noise may DP-FETA's central images have, how fast may it warm up?

    python examples/drive_search.py [TRIALS [ADDRESS]]

ADDRESS: local (default, starts Ray on this machine), auto (joins the cluster that runs here), host:port, or here,
which does without Ray. Started again it has the trials that it has made.

A trial is chosen by its accuracy on real images, and each such look at private ones costs privacy that nobody
accounts for. So this searches on a public data set of the same kind, here the digits; the real run then takes what
was found, and says so (`--tuned-on digits`).
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import raysyn

SPACE = {
    "central.noise-multiplier": raysyn.Between(1.0, 20.0),
    "warmup.learning-rate": [5e-4, 1e-3, 2e-3],
}
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "limit": 500}, "synthetic": 300, "warmup": {"iterations": 50},
    "finetune": {"epochs": 4}, "sampler": {"steps": 5},
    "eval": {"classifiers": ("logreg",), "epochs": 5, "feature_epochs": 0},
}  # fmt: skip


def trial(worker: Any, params: dict[str, Any], shared: dict[str, Any]) -> None:
    """One trial, in a worker: a whole small run. `params` are flags, by their names."""
    with tempfile.TemporaryDirectory() as out:
        result = raysyn.run("dp_feta", epsilon=5, out=out, quiet=True, on={"address": "here"}, **shared, **params)
        (reached,) = result.report["metrics"]["utility"].values()
    worker.progress(1, 1, accuracy=reached["accuracy"])


def main(trials: int = 12, address: str = "local", storage: str = "runs/search") -> None:
    search = raysyn.Search(metric="accuracy", reports=1, trials=trials)
    with raysyn.connect(address, storage=str(Path(storage).absolute())) as compute:
        found = compute.search(trial, SPACE, search, name="central", shared=SMALL)
    for outcome in found:
        print(f"{100 * outcome.score:5.1f} %  {outcome.params}")
    flags = " ".join(f"--{name} {value:.3g}" for name, value in found[0].params.items())
    print(f"raysyn dp_feta quick --data.path YOURS {flags} --tuned-on digits --out runs/yours")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
