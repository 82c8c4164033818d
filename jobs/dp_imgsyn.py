"""DP-ImgSyn on Ray: `python jobs/dp_imgsyn.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys
from contextlib import ExitStack

from raysyn.methods.common import On, open_private_run, say_empty, show_plan
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_imgsyn.config import JUDGED_BY, METHOD
from raysyn.methods.dp_imgsyn.outlook import check_memory, show_outlook
from raysyn.methods.dp_imgsyn.pipeline import Given
from raysyn.methods.dp_imgsyn.presets import PRESETS
from raysyn.on_ray.cluster import connect
from raysyn.screen import cli
from raysyn.screen.console import Console


def check(stack: ExitStack) -> Given:
    """Everything that can be wrong with the input, before the first stage."""
    console = stack.enter_context(Console())
    command = cli.parse(PRESETS, description=dp_imgsyn.SUMMARY, machines=On(), seal=True)
    dataset, public, publics, plan = dp_imgsyn.prepare(command.config)
    say_empty(console, dataset)
    show_plan(console, plan, dataset)
    check_memory(console, command.config, dataset, public, command.machines)
    if command.dry_run:
        show_outlook(console, command.config, dataset, public)
        raise SystemExit(0)
    # Other public images are another run.
    facts = {} if public is None else {"public": public.train.fingerprint()}
    setting = open_private_run(
        command, METHOD, dataset, plan, console, connect, stack, judged_by=JUDGED_BY, facts=facts
    )  # fmt: skip
    return Given(setting, public, publics)


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, dp_imgsyn.run))
