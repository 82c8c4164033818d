"""The command `raysyn`, also `python -m raysyn`: a method, tool or verb by its first word.

`raysyn METHOD PRESET [--flags]` is the same as `python jobs/METHOD.py PRESET [--flags]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from raysyn.methods import catalogue
from raysyn.methods.catalogue import Entry
from raysyn.screen import cli

GUARANTEES = {"dp": "(ε, δ)-DP", "none": "none", "either": "(ε, δ)-DP or none"}


def main(arguments: Sequence[str] | None = None, prog: str = "raysyn") -> int:
    """Exit status of the command; `arguments` (default: the process's) begin with its first word.

    0: done; 2: bad input, said in one sentence on stderr; 130: interrupted; 143: terminated.
    """
    first, *rest = (list(sys.argv[1:]) if arguments is None else list(arguments)) or [""]
    if first in ("", "-h", "--help"):
        print(overview(prog), file=sys.stdout if first else sys.stderr)
        return 0 if first else 2
    if first in VERBS:
        return VERBS[first](rest)
    try:
        entry = catalogue.find(first)
    except ValueError as error:
        return cli.refuse(f"{error}; verbs are {', '.join(VERBS)}")
    return run(entry, rest, f"{prog} {first}")


def run(entry: Entry, arguments: Sequence[str], prog: str) -> int:
    """Exit status of one method or tool; `prog` names it in messages and help."""

    def check(stack: ExitStack) -> Any:
        """Everything that can be wrong with the input, before the first stage."""
        command = cli.parse(
            entry.presets(), arguments, entry.summary, machines=entry.machines(), prog=prog, seal=entry.seal
        )
        # Before what takes seconds to import.
        print(f"{entry.name} {command.preset}, in {command.out}", flush=True)
        from raysyn.screen.console import Console

        return entry.method().begin(command, stack.enter_context(Console()), connect, stack)

    return cli.run_or_explain(check, lambda setting: entry.method().run(setting))


def connect(machines: Any, storage: str, show: Any) -> AbstractContextManager[Any]:
    """Ray behind the doorway, imported where it is asked for; or this process, with `--on.address here`."""
    if machines.address != "here":
        show("Ray is starting", 0, 0, {})  # with seconds of imports

    from raysyn.on_ray import cluster

    return cluster.connect(machines, storage, show)


def overview(prog: str) -> str:
    """What there is to type."""
    shown = [f"usage: {prog} METHOD PRESET [--flags]", "", "methods, each with presets of its own:"]
    shown += [f"  {name:<20} {one.summary}" for name, one in catalogue.methods().items()]
    shown += ["", "started alike:", *(f"  {one.name:<20} {one.summary}" for one in catalogue.TOOLS)]
    shown += ["", "verbs:", *(f"  {name:<20} {verb.__doc__}" for name, verb in VERBS.items())]
    return "\n".join([*shown, "", f"`{prog} METHOD` lists its presets, `{prog} METHOD PRESET --help` its flags."])


def _methods(arguments: Sequence[str]) -> int:
    """The methods: paper, guarantee, what each needs, presets."""
    if arguments:
        return cli.refuse(f"methods takes no arguments, but there is {arguments[0]}: leave it out")
    for name, one in catalogue.methods().items():
        print(f"{name}\n  {one.summary}\n  paper      {one.paper}\n  guarantee  {GUARANTEES[one.guarantee]}")
        print(f"  needs      {one.needs}\n  presets    {cli.filled(', '.join(one.presets()), 13)}\n")
    return 0


def _report(arguments: Sequence[str]) -> int:
    """RUN...: a table over several finished runs."""
    from raysyn.report.report import main as tables

    return tables(arguments)


def _verify(arguments: Sequence[str]) -> int:
    """RELEASE: whether a release is as its certificate says."""
    from raysyn.report.verify import main as verify

    return verify(arguments)


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"methods": _methods, "report": _report, "verify": _verify}
