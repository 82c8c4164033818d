"""Knowledge Recycling on Ray: `python jobs/knowledge_recycling.py PRESET [--flags]`, alone or by `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import Setting, open_run, say_empty
from raysyn.methods.knowledge_recycling import pipeline as knowledge_recycling
from raysyn.methods.knowledge_recycling.outlook import check_memory, show_outlook
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console


def check(stack: ExitStack) -> Setting:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(
        knowledge_recycling.PRESETS, description=knowledge_recycling.SUMMARY, machines=knowledge_recycling.On()
    )
    dataset = knowledge_recycling.prepare(command.config)
    say_empty(console, dataset)
    check_memory(console, command.config, dataset, command.machines)
    if command.dry_run:
        show_outlook(console, command.config, dataset, knowledge_recycling.split(command.config, dataset))
        raise SystemExit(0)
    return open_run(command, knowledge_recycling.METHOD, dataset, console, connect, stack, judged_by=("attack",))


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, knowledge_recycling.run))
