"""Private evolution (Lin et al., ICLR 2024; with a renderer, 2025): nothing is trained on private images.

Reads downwards: all rounds of votes are priced; candidates from a public source are voted for by the private images and
varied, round after round; then images are drawn from the last ones that were voted for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from raysyn.data.images import Images
from raysyn.data.public import Public, comparison, load_beside
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.candidates import characters_of, source_of
from raysyn.methods.class_shares import counted, mix_of
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.ends import finish, look, usual
from raysyn.methods.evolution.config import NAME, Config
from raysyn.methods.evolution.outlook import check_memory, show_outlook
from raysyn.methods.evolving import asked, best_of, by_chance, draw_chunk, drawn_from, evolve, unvoted
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import drowned_votes, unjudged
from raysyn.methods.network import Network
from raysyn.methods.soft_config import MOST_SHARED
from raysyn.methods.synthesis import Drawing, judging, synthesise
from raysyn.privacy import units
from raysyn.privacy.mechanisms import Mechanism
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.votes import VOTES, plan
from raysyn.report.report import Report
from raysyn.screen.words import of_each, so_many


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, public images where they are asked for, and the price of all rounds."""
    sets = config.public.sets() if config.reads_public else ()
    dataset, public = look(NAME, config, uncharged, sets), None
    private = dataset.train
    planned = units.planned(private, partial(plan, config.votes, budget_of(config)))
    if config.source.kind == "letters":
        characters_of(private.class_names)
    else:
        public = load_beside(config.data, private, config.public, MOST_SHARED)
    facts = {} if public is None else {"public": public.train.fingerprint()}
    doubts = [*unjudged(config.eval, private.classes), *drowned_votes(planned, config.votes, private)]
    return Prepared(dataset=dataset, plan=planned, more=public, facts=facts, doubts=doubts)


def run(setting: PrivateSetting) -> Report:
    """Let candidates be voted for, pay, and make everything else of the answers."""
    config, private, console = setting.config, setting.dataset.train, setting.console
    console.begin([VOTES, *counted(config), "synthesise", *judging(config.eval), *audited(setting)])

    # Rounds of votes, with candidates that are varied between them (algorithm 1).
    source = source_of(config.source, private.class_names, private.shape, setting.more, config.seed)
    found = setting.folder.stage(VOTES, partial(evolve, setting, source))
    rounds, classes, each = found["noisy"].shape
    console.stage(VOTES, f"{rounds} rounds for {each} candidates of {of_each(classes, 'class')}, {setting.spent()}")
    for sentence in by_chance(setting, found["noisy"]):
        console.say(sentence)

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = synthesise(setting, drawing(config, private, private.units, {VOTES: found}.__getitem__))
    best = best_of(config, private, found["population"])
    return finish(
        setting, NAME, synthetic, central=best, done=story(setting, found), uncharged=uncharged(config),
        public=made_from(setting.more), weighed=partial(unvoted, *asked(config, private, found)),
    )  # fmt: skip


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Variations of the last candidates, as often as they were voted for."""
    population = answer(VOTES)["population"]
    told = f"variations of {int((population['shares'] > 0).sum()):,} candidates that were voted for"
    return Drawing(draw_chunk, drawn_from(config, like, population), told)


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How many noisy votes the candidates have that each image would vote for, round by round."""
    return -unvoted(*asked(config, like, answer(VOTES)), images)


def story(setting: PrivateSetting, found: Mapping[str, Any]) -> list[str]:
    """One plain sentence per stage, for the report."""
    config, (rounds, _, each) = setting.config, found["noisy"].shape
    public: Public | None = setting.more
    made = "drawn as characters" if public is None else f"made of {len(public.train):,} public images"
    votes = f"The private images voted {rounds} times for {each} candidates of each class, {made}; between the rounds "
    return [
        votes + "those with the most noisy votes were varied.",
        *by_chance(setting, found["noisy"]),
        f"Drew {so_many(len(found['population']['shares']), 'class')}, {mix_of(config)}, as variations of the last "
        "candidates.",
    ]


def made_from(public: Public | None) -> dict[str, Any]:
    """What was public, as the certificate names it."""
    return {} if public is None else {"public_images": [public.described("changed")]}


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    return [*usual(config), *([comparison(MOST_SHARED)] if config.source.kind == "public" else [])]


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    names = ("genes", "shares", *(["pictures"] if config.source.kind == "public" else []))
    population = answer(VOTES)["population"]
    return {VOTES: {"population": {name: population[name] for name in names}}}


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    return {VOTES: config.votes, COUNTS: None}


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True, knows=knows, mechanisms=mechanisms,
    network=Network(("source", "classes", "synthetic", "seed"), parts),
)  # fmt: skip
