"""A sweep of shadow models (LiRA): how well can a classifier's training images be told from others?

    python examples/shadow_sweep.py [MODELS [ADDRESS [OUT]]]

ADDRESS: local (default, starts Ray on this machine), auto (joins the cluster that runs here), host:port, or here,
which does without Ray. On several machines OUT must be a folder that every node reaches, or a URI. Shadow models that
exist are not trained again, also where more are asked for later. With `target={"checkpoint": "net.pt", "model":
"mynets:build"}` it is your classifier that is attacked (docs/attack_your_classifier.md); without, one is trained
here.
"""

import sys
from typing import Any

import raysyn

ATTACKED: dict[str, Any] = {"data": {"name": "digits", "limit": 300}, "recipe": {"epochs": 10}}


def main(models: int = 16, address: str = "local", out: str = "runs/sweep") -> None:
    result = raysyn.run("lira", attack={"shadow_models": models}, on={"address": address}, out=out, **ATTACKED)
    told = result.report["attacks"]["target"]
    print(
        f"right about {100 * result.report['metrics']['tested']['target']['accuracy_real_data']:.1f} % of test images"
    )
    for name, figure in told.items():
        print(f"{name}: {figure}")
    print(f"The report (stays inside): {result.paths['report']}")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
