"""DP-FETA on Ray: `python jobs/dp_feta.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import On, PrivateSetting, open_private_run, say_empty, show_plan
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.outlook import check_memory, show_outlook
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console


def check(stack: ExitStack) -> PrivateSetting:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(dp_feta.PRESETS, description=dp_feta.SUMMARY, machines=On(), seal=True)
    dataset, plan = dp_feta.prepare(command.config)
    say_empty(console, dataset)
    show_plan(console, plan, dataset)
    check_memory(console, command.config, dataset, command.machines)
    if command.dry_run:
        show_outlook(console, command.config, dataset, plan)
        raise SystemExit(0)
    return open_private_run(command, dp_feta.METHOD, dataset, plan, console, connect, stack)


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, dp_feta.run))
