"""disclosure.json: a release's promise under the headings by which such promises are compared and examined.

`deployment` has the fields of the Differential Privacy Deployments Registry for a record of tier 3 (its schema,
schemas/deployments-schema.yaml, at commit 057e5d8 of 2026), each a text or a number, `nist_sp_800_226` those questions
of NIST SP 800-226 ("Guidelines for Evaluating Differential Privacy Guarantees", 2025) that a release can answer. Made
of the certificate alone. What only the curator knows is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from raysyn.privacy.cost import ADD_REMOVE_PERSON, unit_of
from raysyn.report.card import maker, origin
from raysyn.runs.may_leave import units_of
from raysyn.screen.words import rounded_up, so_many

DISCLOSURE = "disclosure.json"
CURATOR = "whoever ran raysyn, and the machines it ran on"
DATA_FLOW = {
    CURATOR: "the private images themselves, the secret from which all noise comes, and every figure measured on real "
    "images: it stays in the folder internal/, in the storage that the machines share, in the account of the images "
    "and on the console",
    "whoever is handed the release": "the files that certificate.json names, and the public facts; nothing else",
    "whoever reads certificate.json alone": "the public facts, the ledger and what follows from it",
}
"""Who sees what."""
DATA_FLOW_WITHOUT_PROMISE = {
    CURATOR: "the private images themselves, and every figure measured on real images: it stays in the folder "
    "internal/, in the storage that the machines share, in the account of the images and on the console",
    "whoever is handed the release": "the files that certificate.json names, the public facts, and whatever can be "
    "learned of the private images from these files: nothing limits that",
    "whoever reads certificate.json alone": "the public facts, and that nothing is promised",
}
TRUST = (
    "Central: whoever ran raysyn is trusted with the images, and so are the machines. Whoever is handed the release is "
    "not trusted: the promise holds whatever they know, all other images included, and however much they compute."
)
ADAPTED = "clipping and Gaussian noise, drawn from the operating system's randomness in ordinary floating point"
BY_ITS_CODE, WITH_SAMPLING = "as the code of its method says", ", with Poisson sampling"
"""Of stages by mechanisms that are not raysyn's: nothing else is known of them."""
OWN_MECHANISMS = frozenset(
    (
        *("DP-SGD", "layer statistics", "semantic histogram", "noisy functions", "noisy votes for candidates"),
        *("noisy means", "noisy modes", "noisy class means", "noisy class modes", "noisy class counts"),
        *("noisy spread within classes", "noisy EM statistics", "noisy mean embedding", "noisy mean features"),
        "noisy mean squared features",
    )
)
"""Names by which raysyn's own are in a ledger."""
POST_PROCESSING = (
    "Images, labels, samples, layouts and cards are made of the answers in the ledger and of what is public alone: no "
    "private image is read again, so that they cost nothing more."
)
SECURITY = (
    "internal/ has the secret, checkpoints and exact answers, and the account of the images hashes of them under a "
    "key: on a disk for its owner alone, at a URI with the permissions of the bucket; sealing the run, once its "
    "report is written, erases what could undo the noise. The promise says nothing of who gets at these."
)
NO_PROMISE = "none: there is no differential privacy guarantee to disclose"
BY_THE_CURATOR = ("data_curators", "intended_use", "data_product_region", "data_product_sector", "publication_date")
"""Fields that no certificate knows."""


def disclosure(signed: Mapping[str, Any]) -> str:
    """disclosure.json, of a certificate."""
    return json.dumps(disclosed(signed), indent=2, ensure_ascii=False) + "\n"


def adapted(signed: Mapping[str, Any]) -> str:
    """What all mechanisms of the ledger are made of, as far as they are raysyn's."""
    rows, sampled = signed["ledger"], any(row["sampling_rate"] < 1 for row in signed["ledger"])
    foreign = "package" in signed["made_by"]  # whose mechanisms may have any name
    others = [row["stage"] for row in rows if foreign or row["mechanism"] not in OWN_MECHANISMS]
    if others and len(others) == len(rows):
        return f"{BY_ITS_CODE[0].upper()}{BY_ITS_CODE[1:]}{WITH_SAMPLING if sampled else ''} ({', '.join(others)})"
    made = f"Poisson sampling, {ADAPTED}" if sampled else f"{ADAPTED[0].upper()}{ADAPTED[1:]}"
    return f"{made}; others {BY_ITS_CODE} ({', '.join(others)})" if others else made


def disclosed(signed: Mapping[str, Any]) -> dict[str, Any]:
    """The same as a mapping."""
    head = {"statement": signed["statement"], "made_from": "certificate.json"}
    if signed["guarantee"] == "none":
        return {**head, "deployment": {"basic": _basic(signed), "dp_variant": {"variant_name": NO_PROMISE}}}
    return {
        **head,
        "deployment": {
            "basic": _basic(signed),
            "dp_variant": {
                "variant_name": "Approximate DP",
                "data_domain": _domain(signed["public_facts"]),
                "unprotected_quantities": _lines(public(signed)),
            },
            "privacy_loss": _privacy_loss(signed),
            "deployment_model": {
                "model_name": "Central",
                "trust_assumptions": TRUST,
                "actors": _lines(f"{actor}: {seen}" for actor, seen in DATA_FLOW.items()),
                "release_type": "One release",
                "data_source_type": "Static",
                "access_type": "Non-interactive",
            },
            "implementation": {
                "preprocessing_and_hyperparameter_tuning": _lines(choices(signed)),
                "mechanisms": _lines([*mechanisms(signed), adapted(signed)]),
                "composition": accounting(signed),
                "post_processing": POST_PROCESSING,
                "justification": None,
            },
        },
        "nist_sp_800_226": {
            "privacy_parameters": {"epsilon": signed["epsilon"], "delta": signed["delta"]},
            "what_they_mean": [part["sentence"] for part in signed["meaning"].values()],
            "unit_of_privacy": unit(signed),
            "neighbouring_data_sets": signed["adjacency"],
            "mechanisms": f"{adapted(signed)}; see deployment.implementation.mechanisms",
            "trust_model": TRUST,
            "data_flow": DATA_FLOW,
            "security_and_access_control": SECURITY,
            "covers": signed["covers"],
            "limits": signed["does_not_cover"],
            "other_releases": signed["account"]["sentence"],
        },
    }


def _lines(told: Iterable[str]) -> str:
    """A list as the registry has it, in Markdown."""
    return "\n".join(f"- {line}" for line in told)


def _domain(facts: Mapping[str, Any]) -> str:
    labelled = " with a class each" if len(facts["classes"]) > 1 else ""
    return f"images of {' x '.join(map(str, facts['shape']))}{labelled}"


def unit(signed: Mapping[str, Any]) -> str:
    """Whom the promise is about, in a sentence."""
    if signed["adjacency"] == ADD_REMOVE_PERSON:
        return "One person with all their images."
    return "One image: of somebody with several of them less is promised."


def public(signed: Mapping[str, Any]) -> list[str]:
    """What is not protected, a line each."""
    facts = signed["public_facts"]
    units = "person" if "private_persons" in facts else "image"
    one = len(facts["classes"]) == 1
    lines = [
        f"the set is called {facts['name']}",
        _there_are(units_of(facts), f"private {units}"),
        f"images are {' x '.join(map(str, facts['shape']))} (height, width, channels)",
        f"{_there_are(len(facts['classes']), 'class')}, and what {'it is' if one else 'they are'} called",
    ]
    named = [name for one in signed["public_images"] for name in one["sets"]]
    lines += [f"public images: {', '.join(named)}"] if named else []
    lines += [origin(signed)] if any("released" in one for one in signed["public_images"]) else []
    return lines + [f"a public network: {one['name']}" for one in signed["public_networks"]]


def _there_are(count: int, what: str) -> str:
    return f"there {'is' if count == 1 else 'are'} {so_many(count, what)}"


def mechanisms(signed: Mapping[str, Any]) -> list[str]:
    """A line for each row of the ledger."""
    return [_mechanism(row) for row in signed["ledger"]]


def _mechanism(row: Mapping[str, Any]) -> str:
    steps, rate = row["steps"], row["sampling_rate"]
    answers = "one Gaussian answer" if steps == 1 else f"{steps:,} Gaussian answers"
    taken = "about all of them" if rate == 1 else f"each about a Poisson sample at rate {rate:.6g}"
    return (
        f"{row['stage']}: {row['mechanism']}: {answers} {taken}, noise {row['noise_multiplier']:.6g} times what one "
        f"{unit_of(row['adjacency'])} can move; alone epsilon {rounded_up(row['epsilon_alone'])}"
    )


def accounting(signed: Mapping[str, Any]) -> str:
    """How the rows add up, in a sentence."""
    others = ", ".join(
        f"{by.upper()} {rounded_up(known)}" for by in ("prv", "rdp") if (known := signed[f"epsilon_{by}"]) is not None
    )
    return (
        f"All rows of the ledger composed as they are, adaptively: epsilon {rounded_up(signed['epsilon'])} at delta "
        f"{rounded_up(signed['delta'])} by the accountant {signed['priced_by'].upper()} ({others}), an upper bound, "
        f"rounding included; {signed['delta_beside']}."
    )


def choices(signed: Mapping[str, Any]) -> list[str]:
    """What was chosen by looking at private images and not paid for, a line each."""
    return list(signed["uncharged_choices"]) or ["nothing is declared as chosen by looking at private images"]


def _basic(signed: Mapping[str, Any]) -> dict[str, Any]:
    again = signed.get("drawn_anew")
    how = "" if again is None else f" Drawn after the run, with these settings: {again['settings']}."
    return {
        "name": f"synthetic {signed['public_facts']['name']}",
        "description": f"Synthetic images by {maker(signed)}. {origin(signed)}{how}",
        "data_product_type": "Synthetic data",
        **dict.fromkeys(BY_THE_CURATOR),
    }


def _privacy_loss(signed: Mapping[str, Any]) -> dict[str, Any]:
    of_person = signed["adjacency"] == ADD_REMOVE_PERSON
    return {
        "privacy_unit": "User-level" if of_person else "Record-level",
        "privacy_unit_details": f"{unit(signed)} Neighbouring data sets: {signed['adjacency']}.",
        "number_of_privacy_units": units_of(signed["public_facts"]),
        "privacy_parameters": {"epsilon": signed["epsilon"], "delta": signed["delta"]},
        "privacy_parameters_details": signed["what_an_attacker_can_do"]["sentence"],
    }
