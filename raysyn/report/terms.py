"""What a promise covers and what it does not, a line each, as the certificate of a run lists it.

Plain words, since whoever answers for data protection reads them. A line about what a run had no part in is left out of
its certificate: about public images where none were read, about DP-SGD where nothing was trained by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysyn.privacy.cost import ADD_REMOVE_PERSON
from raysyn.privacy.sgd_config import DP_SGD

FILES = "every released file but for the public facts, and everything anyone computes from the files alone"
IMAGES = (
    "several images of one person: the promise is about one image, and weakens with each further image of "
    "that person (group privacy)",
    "the public facts: the data set's name, the number of private images, their shape and the list of classes",
)
PERSONS = (
    "somebody whom the data calls by several names: the promise is about the images under one name, and weakens with "
    "each further name of that person (group privacy)",
    "the public facts: the data set's name, the number of private persons, the shape of images and the list of classes",
)
"""In place of these, where persons are named."""
TAKEN = (
    "which images were taken of a larger set, where it was limited or some were kept for tests: the promise is about "
    "those taken"
)
OTHERS = "other releases made from the same images, by raysyn or by hand: their epsilons and deltas add up"
EXISTS = (
    "that this release exists: input that cannot be used is refused, and a release that its own audit refutes is "
    "withheld, which tells of them"
)
CHOICES = "the choices listed as not paid for"
FOREIGN = (
    "that the code of {}, which asked the private images, does what its ledger says, and asks them nothing more: it is "
    "not raysyn's"
)
SECRET = "anyone who obtains the secret in the folder internal/, from which all noise can be computed and subtracted"
ARITHMETIC = (
    "attacks on floating-point arithmetic: noise is drawn in ordinary floating point, not on a discrete grid, and ends "
    "at 37 times its standard deviation"
)


def terms(signed: Mapping[str, Any]) -> dict[str, list[str]]:
    """Both lists, of a certificate that names its ledger, its adjacency and what is public."""
    mechanisms = tuple(dict.fromkeys(row["mechanism"] for row in signed["ledger"]))
    whose = PERSONS if signed["adjacency"] == ADD_REMOVE_PERSON else IMAGES
    known = public(bool(signed["public_images"]), bool(signed["public_networks"]))
    stays = inside(any(one.startswith(DP_SGD) for one in mechanisms))
    package = signed["made_by"].get("package")
    code = [] if package is None else [FOREIGN.format(package)]
    lines = [*whose, TAKEN, *known, OTHERS, stays, EXISTS, *code, CHOICES, SECRET, ARITHMETIC]
    return {"covers": [FILES, answers(mechanisms)], "does_not_cover": lines}


def answers(mechanisms: tuple[str, ...]) -> str:
    """That what was answered is covered too, by what gave the answers."""
    told = ["the network trained by DP-SGD" if one.startswith(DP_SGD) else one for one in mechanisms]
    return f"every answer in the ledger ({', '.join(dict.fromkeys(told))}), should it be handed on"


def public(images: bool, networks: bool) -> list[str]:
    """That what is public is not covered, where there is any."""
    told = " and ".join(["public images"] * images + ["a classifier of public images that was given"] * networks)
    rest = "named as public here: known to everybody, by assumption, and made without the private images"
    return [f"{told}, {rest}"] if told else []


TOOK = "how many tasks a stage had, and how long they took"


def inside(sgd: bool) -> str:
    """What stays where the run was made."""
    return (
        "what stays with whoever ran it: the folder internal/, the storage that the machines share, the account of the "
        "images, what the console showed while the run went on, such as accuracy on real images"
        f"{' and losses of DP-SGD' if sgd else ''}, and of a run on Ray the log of a submitted job, what the object "
        "store and spill folder held meanwhile, and what its dashboard and metrics tell: "
        f"{TOOK}{tracked(sgd)}"
    )


def tracked(sgd: bool) -> str:
    """What somebody is told outside by a tracker."""
    return f"; and what a tracker was told: how long stages{', and parts of DP-SGD,' if sgd else ''} took"
