"""The list of what release/ may hold: what is not on it is refused, whoever wrote it and wherever it came from.

Nothing measured on private data is on it: no accuracy, no exact count of a class, no fingerprint of the private images,
no time. What a new field tells of the private images is asked when its line is added here, and not when it has left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

NETWORK_WEIGHTS, NETWORK_ABOUT = "network.safetensors", "network.json"
FILES = (
    "synthetic.parquet", "samples.png", "student.pt", NETWORK_WEIGHTS, NETWORK_ABOUT, "README.md",
    "croissant.json", "disclosure.json", "certificate.html", "manifest.json", "certificate.json",
)  # fmt: skip
OF_NO_PROMISE = ("student.pt",)
"""Files of runs that promise nothing, which nobody can hold against a ledger."""
FOLDER, TAR = "folder", "webdataset"
FOLDERS = (FOLDER, TAR)
"""Of layouts: the same images, as other tools read them. Their hashes are in manifest.json."""
_LAID_OUT = re.compile(
    rf"{FOLDER}/classes\.json|{FOLDER}/train/[^/]+/\d{{6,}}\.png|{TAR}/classes\.json|{TAR}/train-\d{{6}}\.tar"
)

_WORD = re.compile(r"[A-Za-z0-9_.:+-]{1,40}")
_NAME = re.compile(r"[\w .,:+=()-]{1,60}")

_TEXT, _WHOLE, _NUMBER = (str,), (int,), (int, float, type(None))
_HASH = re.compile(r"[0-9a-f]{64}")
_SHA256 = {"sha256": _HASH}
ALARMS = (
    "0", "0.000001", "0.00001", "0.00003", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.02",
    "0.03", "0.05", "0.07", "0.1", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4", "0.45", "0.5", "0.55", "0.6", "0.65",
    "0.7", "0.75", "0.8", "0.85", "0.9", "0.95", "1",
)  # fmt: skip
"""False alarms at which a certificate tells what is missed."""
_SPENT = {
    "stage": _TEXT,
    "mechanism": _TEXT,
    "noise_multiplier": _NUMBER,
    "sampling_rate": _NUMBER,
    "steps": _WHOLE,
    "epsilon_alone": _NUMBER,
    "adjacency": _TEXT,
    "note": _TEXT,
}
_PUBLIC_IMAGES = {
    "sets": [_TEXT],
    "images": _WHOLE,
    "sha256": _HASH,
    "validation_images": _WHOLE,
    "validation_sha256": _HASH,
    "released": _TEXT,
}
CERTIFICATE: Mapping[str, Any] = {
    "statement": _TEXT,
    "guarantee": _TEXT,
    "epsilon": _NUMBER,
    "delta": _NUMBER,
    "adjacency": _TEXT,
    "accountant": _TEXT,
    "priced_by": _TEXT,
    "epsilon_prv": _NUMBER,
    "epsilon_rdp": _NUMBER,
    "what_an_attacker_can_do": {
        "sentence": _TEXT,
        "most_found_at_false_alarms": dict.fromkeys(("0.001", "0.01", "0.1"), _NUMBER),
        "most_right_guesses": _NUMBER,
    },
    "meaning": {
        "trade_off": {"sentence": _TEXT, "least_missed_at_false_alarms": dict.fromkeys(ALARMS, _NUMBER)},
        "advantage": {"sentence": _TEXT, "most": _NUMBER},
        "best_guess": {"sentence": _TEXT, "most_right_at_prior": dict.fromkeys(("0.5", "0.01"), _NUMBER)},
        "deltas": {"sentence": _TEXT, "at": [{"epsilon": _NUMBER, "delta": _NUMBER}]},
        "gaussian": {"sentence": _TEXT, "mu": _NUMBER},
        "several_images": {"sentence": _TEXT, "epsilon_with": dict.fromkeys(("2", "4", "8"), _NUMBER)},
    },
    "ledger": [_SPENT],
    "account": {
        "sentence": _TEXT,
        "runs": _WHOLE,
        "epsilon": _NUMBER,
        "delta": _NUMBER,
        "without_guarantee": _WHOLE,
        "of_other_units": _WHOLE,
    },
    "delta_beside": _TEXT,
    "covers": [_TEXT],
    "does_not_cover": [_TEXT],
    "uncharged_choices": [_TEXT],
    "public_facts": {
        "name": _TEXT,
        "private_images": _WHOLE,
        "private_persons": _WHOLE,
        "shape": [_WHOLE],
        "classes": [_TEXT],
    },
    "public_images": [_PUBLIC_IMAGES],
    "public_networks": [{"name": _TEXT, **_SHA256}],
    "made_by": {"raysyn": _TEXT, "method": _TEXT, "package": _TEXT},
    "drawn_anew": {"of": dict.fromkeys(FILES, _SHA256), "settings": _TEXT},
    "files": dict.fromkeys(FILES, _SHA256),
}
"""Fields by name: types of a plain value, how a text is written, [what each of a list is], or the fields inside."""


def units_of(public_facts: Mapping[str, Any]) -> int:
    """How many there are of what a certificate's promise is about: persons, or images where no persons are named."""
    named = "private_persons" in public_facts
    units: int = public_facts["private_persons" if named else "private_images"]
    return units


def check(certificate: Mapping[str, Any], files: Iterable[str]) -> None:
    """ValueError for a field of the certificate, or a file beside it, that is not on the list."""
    for name in files:
        if name not in FILES and not is_laid_out(name):
            raise ValueError(f"release/{name} may not leave: it is not among may_leave.FILES, {', '.join(FILES)}")
        if name in OF_NO_PROMISE and certificate.get("guarantee") != "none":
            raise ValueError(f"release/{name} may not leave of a run with a promise: no row of a ledger speaks of it")
    _check(certificate, CERTIFICATE, "")


NETWORK_FORM = "raysyn network 1"
NETWORK = dict.fromkeys(("statement", "form", "raysyn", "method", "preset", "made_by"), _TEXT)
"""Fields of network.json beside its settings."""
SETTINGS = ("budget", "classes", "classifier", "gan", "generator", "model", "moments", "network", "noise", "penalty",
            "sampler", "seed", "source", "synthetic")  # fmt: skip
"""Groups of settings that network.json may hold: what drawing reads, and no place of a file."""


def check_network(about: Mapping[str, Any]) -> None:
    """ValueError for what network.json may not say."""
    if not isinstance(about, Mapping):
        raise ValueError("network.json is damaged: it holds no fields")
    for name, value in about.items():
        if name == "settings" and isinstance(value, Mapping):
            for group, inner in value.items():
                if group not in SETTINGS:
                    raise ValueError(
                        f"network.json may not say {group}: groups of settings that may leave are "
                        f"{', '.join(SETTINGS)}; call yours one of these"
                    )
                if group in ("seed", "synthetic") and type(inner) is not int:
                    raise ValueError(f"network.json may not say {group} as {type(inner).__name__}: it is a number")
                # Names of classes are public, whatever is in them.
                _check_setting(inner, group, group == "classes")
        elif name not in NETWORK or type(value) not in NETWORK[name]:
            raise ValueError(f"network.json may not say {name}: it is not in may_leave.NETWORK")
        elif name in ("method", "preset") and not _NAME.fullmatch(value):
            raise ValueError(f"network.json may not say {name} as {value!r}, which is no name of one")


def network_text(about: Mapping[str, Any]) -> str:
    """network.json, in the one way in which it is written."""
    return json.dumps(about, indent=2, ensure_ascii=False) + "\n"


def _check_setting(value: Any, place: str, any_words: bool) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not name.isidentifier():
                raise ValueError(f"network.json may not say {place}.{name!r}, which is no name of a setting")
            _check_setting(inner, f"{place}.{name}", any_words)
    elif isinstance(value, list):
        for inner in value:
            _check_setting(inner, place, any_words)
    elif isinstance(value, str) and not (any_words or _WORD.fullmatch(value)):
        raise ValueError(
            f"network.json may not say {place} as {value!r}, which is no word of a setting and could be the place of a "
            "file"
        )
    elif not (value is None or type(value) in (str, int, float, bool)):
        raise ValueError(f"network.json may not say {place} as {type(value).__name__}")


def is_laid_out(name: str) -> bool:
    """Whether it is the place of a file in the folder of a layout."""
    return _LAID_OUT.fullmatch(name) is not None and "/../" not in name and "/./" not in name


def _check(value: Any, allowed: Any, place: str) -> None:
    if isinstance(allowed, tuple):
        # By the very type: a subclass, such as bool of int, is another thing to say.
        fits = type(value) in allowed
    elif isinstance(allowed, re.Pattern):
        fits = type(value) is str and allowed.fullmatch(value) is not None
    elif isinstance(allowed, list):
        fits = isinstance(value, list | tuple)
        for one in value if fits else ():
            _check(one, allowed[0], f"{place}[]")
    else:
        fits = isinstance(value, Mapping)
        for name, inner in value.items() if fits else ():
            where = f"{place}.{name}" if place else name
            if name not in allowed:
                raise ValueError(f"certificate.json may not say {where}: it is not in may_leave.CERTIFICATE")
            _check(inner, allowed[name], where)
    if not fits:
        raise ValueError(f"certificate.json may not say {place} as {type(value).__name__}: see may_leave.CERTIFICATE")
