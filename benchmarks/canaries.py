"""How much time does the audit of a run by its own canaries cost? One run with 1 % of its images as canaries.

    python benchmarks/canaries.py                                # noisy_means quick on 10,000 images of MNIST
    python benchmarks/canaries.py --method dp_feta --preset cpu-mnist

Time is CPU seconds by the run's own report: the stage `audit` beside all others. The coins themselves cost nothing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from pathlib import Path

from raysyn.command import main as raysyn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="noisy_means")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--more", default="--data.name mnist --data.limit 10000 --on.address here")
    parser.add_argument("--canaries", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        more = [*shlex.split(asked.more), "--audit.canaries", str(asked.canaries), "--out", str(out)]
        status = raysyn([asked.method, asked.preset, *more])
        report = json.loads((out / "internal/report.json").read_text())
    spent = {stage: one["cpu_s"] for stage, one in report["timings"].items()}
    audit = spent.pop("audit")
    others = sum(spent.values())
    print("| run | canaries | other stages, CPU s | audit, CPU s | share | exit status |\n|---|---|---|---|---|---|")
    row = [f"{asked.method} {asked.preset}", f"{asked.canaries}", f"{others:.1f}", f"{audit:.1f}"]
    print("| " + " | ".join([*row, f"{100 * audit / others:.1f} %", f"{status}"]) + " |")


if __name__ == "__main__":
    main()
