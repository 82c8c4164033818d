"""Every configuration that `raysyn audit engine` plays, and how DP-SGD and the mechanisms came out."""

from __future__ import annotations

from itertools import product
from typing import Literal

from raysyn.audits import function_games, query_games, query_sides, sgd_games, sgd_sides
from raysyn.audits.played import Case
from raysyn.audits.sgd_games import Setting
from raysyn.compute.worker import best_device

ENGINES: tuple[Literal["loop", "bookkeeping"], ...] = ("loop", "bookkeeping")
COPIES, RANKS = (1, 8), (1, 2, 3)


def cases() -> list[Case]:
    """All of them, in the order in which they are told."""
    crossed = product(ENGINES, COPIES, RANKS, (False, True))
    found = [_sgd(Setting(engine=e, copies=k, ranks=r, persons=p)) for e, k, r, p in crossed]
    if best_device().type == "cuda":
        # A run compiles its step anew: few runs, of more canaries, and the one rank that a GPU has.
        many = product(COPIES, (False, True))
        found += [_sgd(Setting(engine="fused", copies=k, persons=p, units=4096, batch=1024)) for k, p in many]
    return [*found, *_others(), *query_games.cases(0.25), *query_sides.cases(1 / 32), *function_games.cases()]


def _sgd(setting: Setting) -> Case:
    unit = "persons" if setting.persons else "images"
    ranks = f"{setting.ranks} rank{'s' if setting.ranks > 1 else ''}"
    name = f"DP-SGD, {setting.engine}, K {setting.copies}, {ranks}, {unit}"
    # Image by image, a game takes several times as long.
    part = 0.5 if setting.engine == "loop" else 1.0
    return Case(name=name, cost=setting.cost, play=sgd_games.play(sgd_games.from_steps, setting, name), games=part)


def _others() -> list[Case]:
    """DP-SGD from other sides: each is there for what the games above cannot show."""
    every = Setting(batch=256, epochs=10.0, noise=3.4)
    adam, few = Setting(adam=True), Setting(units=2, batch=1, epochs=2.0, noise=1.5, spare=14, engine="loop")
    crowd = Setting(units=4, batch=4, epochs=1.0, noise=1.0, spare=5)
    album = Setting(units=2, batch=1, epochs=2.0, noise=3.0, spare=62, persons=True, engine="loop")
    sides = (
        ("every unit in each step", every, sgd_games.from_steps, 1.0, True),
        ("released weights, Adam", adam, sgd_games.from_weights, 1.0, False),
        ("nobody else there", few, sgd_sides.alone, 1 / 64, False),
        ("others pull against it", crowd, sgd_sides.against, 1 / 16, False),
        ("many images or one, persons", album, sgd_sides.albums, 1 / 128, False),
    )
    return [
        Case(
            name=f"DP-SGD, {name}", cost=setting.cost, play=sgd_games.play(how, setting, name), games=part, tight=tight
        )
        for name, setting, how, part, tight in sides
    ]
