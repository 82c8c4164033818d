"""What does a command cost before it works? CPU seconds of a refused flag and of help, beside a bare `import torch`.

    python benchmarks/startup.py                        # every method's presets; refusal and help of some
    python benchmarks/startup.py --repeats 15 --imports "-m raysyn pigan quick --help"

Each command is a process of its own, user and system time together. Rows are taken in turn, `--repeats` times after one
round that nobody counts (it writes bytecode), and their medians shown. The second table says where the time of one
command goes: the package that was imported, without what that imported itself (`python -X importtime`).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
BARE = ["-c", "import torch"]
# What follows `python`; a refusal's status is 2.
COMMANDS = [
    BARE,
    ["-m", "raysyn", "--help"],
    ["-m", "raysyn", "methods"],
    *(["-m", "raysyn", name, "quick", "--no-such-flag"] for name in ("noisy_means", "dp_feta", "privimage")),
    *(["-m", "raysyn", name, "quick", "--help"] for name in ("noisy_means", "dp_feta", "privimage")),
    *([f"jobs/{path.name}", "--help"] for path in sorted((ROOT / "jobs").glob("*.py"))),
]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one process and of what it waited for."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment(), stdout=silent, stderr=silent
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wanted = 2 if "--no-such-flag" in command else 0
    if process.returncode != wanted:
        raise RuntimeError(f"python {shlex.join(command)} ended with {process.returncode}, not {wanted}")
    return used.ru_utime + used.ru_stime


def by_package(command: list[str]) -> Counter[str]:
    """CPU microseconds of imports by the package that was imported."""
    line = [sys.executable, "-X", "importtime", *command]
    told = subprocess.run(line, cwd=ROOT, env=environment(), capture_output=True, text=True).stderr
    found = Counter[str]()
    for row in told.splitlines():
        own, _, module = row.removeprefix("import time:").partition("|")
        if row.startswith("import time:") and own.strip().isdigit():
            found[module.rpartition("|")[2].strip().partition(".")[0]] += int(own)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--imports", default="-m raysyn dp_feta quick --no-such-flag", help="command of the second table"
    )
    parser.add_argument("--packages", type=int, default=12, help="rows of the second table")
    given = parser.parse_args()
    print("# python benchmarks/startup.py", shlex.join(sys.argv[1:]))
    spent: list[list[float]] = [[] for _ in COMMANDS]
    for repeat in range(given.repeats + 1):
        for times, command in zip(spent, COMMANDS, strict=True):
            seconds = cpu_seconds(command)
            if repeat:
                times.append(seconds)
    bare = median(spent[COMMANDS.index(BARE)])
    print("| command | CPU s | times `import torch` |\n|---|--:|--:|")
    for times, command in zip(spent, COMMANDS, strict=True):
        print(f"| python {shlex.join(command)} | {median(times):.2f} | {median(times) / bare:.2f} |")
    found = by_package(shlex.split(given.imports))
    print(f"\n| imported by python {given.imports} | ms |\n|---|--:|")
    for package, own in found.most_common(given.packages):
        print(f"| {package} | {own / 1000:.0f} |")
    print(f"| all others | {sum(own for _, own in found.most_common()[given.packages :]) / 1000:.0f} |")


if __name__ == "__main__":
    main()
