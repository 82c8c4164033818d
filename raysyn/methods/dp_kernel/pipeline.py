"""DP-Kernel: a generator learns from noisy functions of the private images, a new one in each round (Jiang et al.).

Reads downwards in the paper's order: all rounds are priced; in each, the generator's images are where the function of
a private sample is asked about, with noise, and learn from its gradient; images are drawn. The last weights, or their
average, are drawn from: no round is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from raysyn.data.images import Images
from raysyn.methods import matching
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.dp_kernel.config import NAME, Config
from raysyn.methods.dp_kernel.model import knows, shown, taught, unlike
from raysyn.methods.dp_kernel.outlook import check_memory, show_outlook
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import unjudged
from raysyn.methods.network import Network
from raysyn.methods.synthesis import Drawing, judging, synthesise
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Functions, Mechanism
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.functions import FUNCTIONS
from raysyn.report.report import Report


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, and the price of all rounds."""
    dataset = look(NAME, config)
    planned = units.planned(dataset.train, partial(plan, config))
    return Prepared(dataset=dataset, plan=planned, doubts=unjudged(config.eval, dataset.train.classes))


def plan(config: Config, n: int) -> Plan:
    """Price all rounds on `n` private images, or persons; ValueError where they cannot be."""
    return Plan.within(budget_of(config), n, FUNCTIONS, config.rounds.cost(n))


def run(setting: PrivateSetting) -> Report:
    """Ask and learn, pay, and draw; a finished stage is stored and never repeated."""
    config, private = setting.config, setting.dataset.train
    judged = [*judging(config.eval), *audited(setting)]
    setting.console.begin([FUNCTIONS, *counted(config), "synthesise", *judged])

    # The only touch of the private images: in each round a noisy function of a sample of them, for each class.
    generator = taught(setting)

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = synthesise(setting, matching.of_generator(generator))
    asked = config.training.crowd * private.classes
    done = [
        f"Asked {config.rounds.count:,} times for noisy functions of {private.classes} classes, each of a new sample "
        f"of about {config.rounds.batch_size:,} {units.word(private)}s.",
        f"Trained a generator by their gradients at {asked:,} of its images each time.",
    ]
    return finish(setting, NAME, synthetic, done=done, weighed=partial(unlike, config, generator))


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the trained generator; see `Method.drawing`."""
    generator = matching.new_generator(config.network, like, config.seed)
    generator.load_state_dict(answer(FUNCTIONS)["model"])
    return matching.of_generator(generator)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {FUNCTIONS: {"model": answer(FUNCTIONS)["model"]}}


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    return {FUNCTIONS: Functions(config.rounds, config.kernel), COUNTS: None}


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, uncharged=uncharged,
    drawing=drawing, audited=True, network=Network(("network", "classes", "synthetic", "seed"), parts),
    knows=knows, shown=shown,
    mechanisms=mechanisms,
)  # fmt: skip
