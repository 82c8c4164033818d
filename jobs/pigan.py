"""PIGAN and its rivals on Ray: `python jobs/pigan.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import On, Setting, open_private_run, open_run, say_empty, show_plan
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan.outlook import check_memory, show_outlook
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console


def check(stack: ExitStack) -> Setting:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(pigan.PRESETS, description=pigan.SUMMARY, machines=On(), seal=True)
    dataset, plan = pigan.prepare(command.config)
    say_empty(console, dataset)
    if plan is not None:
        show_plan(console, plan, dataset)
    check_memory(console, command.config, dataset, command.machines)
    if command.dry_run:
        show_outlook(console, command.config, dataset, command.machines.sgd)
        raise SystemExit(0)
    if plan is None:
        return open_run(command, pigan.METHOD, dataset, console, connect, stack, judged_by=pigan.JUDGED_BY)
    return open_private_run(command, pigan.METHOD, dataset, plan, console, connect, stack, judged_by=pigan.JUDGED_BY)


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, pigan.run))
