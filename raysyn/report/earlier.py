"""What pages and cards said before they were mended: of a release that is there already `raysyn verify` takes it still.

All of them are made of the certificate, byte by byte, so that what differs is told in pairs: words as they are written
now, and as they were, or for what a certificate says itself by what it said. No release is written so again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from raysyn.privacy.cost import ADD_REMOVE_PERSON, delta_beside
from raysyn.report.card import CARD
from raysyn.report.disclosure import ADAPTED, BY_ITS_CODE, DATA_FLOW, DATA_FLOW_WITHOUT_PROMISE, DISCLOSURE
from raysyn.report.disclosure import WITH_SAMPLING as SAMPLED
from raysyn.report.page import PAGE
from raysyn.report.terms import ARITHMETIC, EXISTS, IMAGES, OTHERS, PERSONS, TOOK, tracked

PLAIN = (
    ("it stays in the folder internal/, in the storage that the machines share, in the account",
     "it stays in internal/, in --on.storage, in the account"),
    ("sealing the run, once its report is written, erases what could undo the noise",
     "--seal erases what could undo the noise once the report is written"),
    ("Choices that may come from looks at real images, and were not paid for",
     "Chosen by looking at private images, and not paid for"),
)  # fmt: skip
"""Of the page and of disclosure.json, which said nothing else otherwise, but for the account on the page."""
ACCOUNT = re.compile(r'<p class="account">.*</p>\n')
ONE = (
    ("there is 1 class, and what it is called", "there are 1 classes, and what they are called"),
    ("there is 1 private image", "there are 1 private images"),
    ("there is 1 private person", "there are 1 private persons"),
)


def _before(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for now, before in pairs:
        text = text.replace(now, before)
    return text


def _plain(text: str) -> str:
    return _before(text, PLAIN)


WITHOUT_PROMISE = (
    *((_plain(told), _plain(DATA_FLOW[who])) for who, told in DATA_FLOW_WITHOUT_PROMISE.items()),
    ("makes this page anew, and compares every file with its hash. How the images were made nobody can check\n"
     "from a release: that is the word of the one who made it. <code>disclosure.json</code> says that there is no "
     "promise to disclose; what only the\n",
     "makes this page anew, and\ncompares every file with its hash. What nobody can check from a release is whether "
     "the ledger says what was done: that is the word of the one who\nmade it. <code>disclosure.json</code> has the "
     "same under the headings of NIST SP 800-226 and of the DP deployments registry; what only the\n"),
)  # fmt: skip
STYLE = (
    ("h1, p, li { overflow-wrap: anywhere; } .scroll { overflow-x: auto; }\n", ""),
    (" .scroll { overflow: visible; }", ""),
    ('<div class="scroll"><table>', "<table>"),
    ("</table></div>", "</table>"),
)
WORDS = {
    PAGE: (*STYLE, *WITHOUT_PROMISE, *ONE),
    DISCLOSURE: ONE,
    CARD: (
        (", of 1 class: ", ", of 1 classes: "),
        ("json`: that nothing is promised, and", "json`: what is promised and what is not, and"),
        ("json`: the same under the headings", "json`: the promise under the headings of NIST SP 800-226 and"),
    ),
}  # fmt: skip
IMPORTS = (
    ("import datasets, pandas, torchvision", "import datasets, json, pandas, pathlib, torchvision"),
    ("torchvision, webdataset\n", "torchvision\n"),
    ("pandas, webdataset\n", "pandas\n"),
)
"""Of a card that tells how other layouts are read."""
OF_OTHER_CODE = re.compile(rf"; others {BY_ITS_CODE} \([^()]*\)")
OF_ITS_CODE = re.compile(rf"{BY_ITS_CODE[0].upper()}{BY_ITS_CODE[1:]}({SAMPLED})? \([^()]*\)")
"""What is said of mechanisms that are not raysyn's."""
THOUSANDS = re.compile(r"\b(\d{1,3}),(\d{3}) classes")
OF_ONE_CLASS = re.compile(r'("data_domain": "images of \d+ x \d+ x \d+)"')


def later(name: str, text: str) -> str:
    """The `text` of a file as it was last."""
    if name == CARD:
        return _before(text, IMPORTS)
    if name not in (PAGE, DISCLOSURE):
        return text
    adapted = ADAPTED.replace("'", "&#39;") if name == PAGE else ADAPTED
    whole = f"{adapted[0].upper()}{adapted[1:]}"
    text = OF_OTHER_CODE.sub("", _plain(ACCOUNT.sub("", text)))
    return OF_ITS_CODE.sub(lambda at: f"Poisson sampling, {adapted}" if at[1] else whole, text)


def earlier(name: str, text: str) -> str:
    """The `text` of a file as it was before that."""
    text = _before(later(name, text), WORDS.get(name, ()))
    text = THOUSANDS.sub(r"\1\2 classes", text)
    return OF_ONE_CLASS.sub(r'\1 with a class each"', text) if name == DISCLOSURE else text


def is_made(content: bytes, name: str, made: bytes) -> bool:
    """Whether a file is what is made anew, as it is written now or as it was."""
    return content in (made, *(before(name, made.decode()).encode() for before in (later, earlier)))


EXISTED = "that this release exists: input that cannot be used is refused, which tells of it"


def as_now(line: str) -> str:
    """A line of a certificate's lists as it is written now."""
    if line.endswith(TOOK):
        return line + tracked("losses of DP-SGD" in line)
    return EXISTS if line == EXISTED else line


def earlier_delta(delta: float, n: int, unit: str) -> str:
    """What was said of it, with a share of 1/n that was rounded to the nearest."""
    told = delta_beside(delta, n, unit)
    return f"delta is {delta * n:.2g} of 1/n{told[told.index(' of 1/n') + len(' of 1/n') :]}"


def earlier_terms(adjacency: str) -> dict[str, list[str]]:
    """What certificates said of what is covered and what is not, the same of every run."""
    whose = PERSONS if adjacency == ADD_REMOVE_PERSON else IMAGES
    return {
        "covers": [
            "every released file but for the public_facts below, and everything anyone computes from the files alone",
            "every answer in the ledger (noisy images, the network trained by DP-SGD), should it be handed on",
        ],
        "does_not_cover": [
            *(one.replace("the public facts", "the public_facts") for one in whose),
            "which images --data.limit, --data.test-share or --member-share took of a larger set: the promise is about "
            "those taken",
            "public images, and a classifier of them that was given, which public_images and public_networks name: "
            "they count as known to everybody, and as made without the private ones",
            OTHERS,
            "what is in internal/, in --on.storage and in the account of the images, what the console showed while the "
            "run went on, such as accuracy on real images and losses of DP-SGD (of a submitted job, in Ray's log of "
            "it), what Ray held in its object store and spill folder meanwhile, and what its dashboard and metrics "
            "tell: how many tasks a stage had, and how long they took",
            EXISTED,
            "the choices listed under uncharged_choices",
            "anyone who obtains internal/secret, from which all noise can be computed and subtracted",
            ARITHMETIC,
        ],
    }
