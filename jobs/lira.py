"""LiRA against any classifier, on Ray: `python jobs/lira.py PRESET [--flags]`, alone or by `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import OnAttacked, Setting, open_run, say_empty
from raysyn.methods.lira import pipeline as lira
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console


def check(stack: ExitStack) -> Setting:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(lira.PRESETS, description=lira.SUMMARY, machines=OnAttacked())
    dataset, facts = lira.prepare(command.config, lambda sentence: lira.warn(console, sentence))
    say_empty(console, dataset)
    lira.check_memory(console, command.config, dataset, command.machines)
    if command.dry_run:
        lira.show_outlook(console, command.config, dataset)
        raise SystemExit(0)
    return open_run(command, lira.METHOD, dataset, console, connect, stack, judged_by=("attack",), facts=facts)


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, lira.run))
