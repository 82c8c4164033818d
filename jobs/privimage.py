"""PrivImage on Ray: `python jobs/privimage.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import On, open_private_run, open_run, say_empty, show_plan
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage.config import METHOD
from raysyn.methods.privimage.outlook import check_memory, show_outlook
from raysyn.methods.privimage.pipeline import Given
from raysyn.methods.privimage.presets import PRESETS
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console

JUDGED_BY = ("eval", "word_vectors")
"""Settings that change nothing that is released."""


def check(stack: ExitStack) -> Given:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(PRESETS, description=privimage.SUMMARY, machines=On(), seal=True)
    dataset, public, plan = privimage.prepare(command.config)
    say_empty(console, dataset)
    if plan is not None:
        show_plan(console, plan, dataset)
    check_memory(console, command.config, dataset, public, command.machines)
    if command.dry_run:
        show_outlook(console, command.config, dataset, public, command.machines.sgd)
        raise SystemExit(0)
    # Other public images, or another classifier of them, are another run.
    facts = privimage.facts(command.config, public)
    if plan is None:
        setting = open_run(command, METHOD, dataset, console, connect, stack, judged_by=JUDGED_BY, facts=facts)
        return Given(setting, public)
    return Given(
        open_private_run(command, METHOD, dataset, plan, console, connect, stack, judged_by=JUDGED_BY, facts=facts),
        public,
    )


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, privimage.run))
