"""The data set card of a release, README.md: what the Hugging Face Hub reads of it, and what a person reads first.

Made of the certificate and of what is released, of nothing else. It repeats nothing that a certificate may gain later
(`release.declare`): for that it points there.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysyn.data.names import CONTROL
from raysyn.privacy.cost import ADD_REMOVE_PERSON
from raysyn.runs.may_leave import FOLDERS
from raysyn.screen.words import so_many

CARD = "README.md"
IMAGES = "synthetic.parquet"
MOST_NAMES = 30
BY_NAME = (
    "# A class without an image has no folder, so that ImageFolder alone would number the later ones otherwise:",
    'rows = json.loads(pathlib.Path("FOLDER/folder/classes.json").read_text(encoding="utf-8"))',
    'numbers = {row["folder"]: row["label"] for row in rows}',
    "found.target_transform = lambda at: numbers[found.classes[at]]",
)
"""How labels are read where folders alone do not tell them."""
SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a card says of the images beside their certificate."""

    name: str
    count: int
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    soft: bool
    """Whether there are soft labels."""
    asked: bool = False
    """Whether labels are others than the likeliest ones of these."""
    size: int
    """Bytes of synthetic.parquet."""
    layouts: tuple[str, ...] = ()
    """As what else the same images are there."""
    network: bool = False
    """Whether the network is there that drew them."""
    empty: bool = False
    """Whether a class has no image."""
    license: str | None = None


def unit(signed: Mapping[str, Any]) -> str:
    """What the promise is about."""
    return "one person with all their images" if signed["adjacency"] == ADD_REMOVE_PERSON else "one image"


def origin(signed: Mapping[str, Any], name: Callable[[str], str] = str) -> str:
    """Where the images come from, with sets called as `name` has it."""
    shown = {one.get("released"): ", ".join(map(name, one["sets"])) for one in signed["public_images"]}
    theirs = "what holds for those, their licence and whom they show, holds for these."
    if "unchanged" in shown:
        sets = shown["unchanged"]
        return f"These are public images of {sets}, fitted in size, under labels that a program made: {theirs}"
    if "changed" in shown:
        sets = shown["changed"]
        return f"These are public images of {sets}, changed by a program, under labels that it made: {theirs}"
    return "No camera took them: a program made them, as is said below."


def maker(signed: Mapping[str, Any], name: Callable[[str], str] = str) -> str:
    """By which method of whom the images were made, in a few words."""
    made = signed["made_by"]
    ours, whose = f"raysyn {name(made['raysyn'])}", made.get("package")
    return f"{name(made['method'])} of {ours if whose is None else f'{name(whose)}, run by {ours}'}"


def card(signed: Mapping[str, Any], told: Described) -> str:
    """README.md: a head in YAML, then Markdown."""
    return f"---\n{_head(signed, told)}---\n\n{_body(signed, told)}"


def hugging_face(class_names: Sequence[str], soft: bool) -> str:
    """Schema metadata by which the library `datasets` decodes the images and names the classes."""
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
        "split": {"dtype": "string", "_type": "Value"},
    }
    if soft:
        features["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    return json.dumps({"info": {"features": features}}, ensure_ascii=False)


def described(name: str, class_names: Sequence[str], shape: Sequence[int], soft: bool) -> dict[bytes, bytes]:
    """Schema metadata of a synthetic.parquet: for `data.load`, and for the library `datasets`."""
    about = {"name": name, "classes": list(class_names), "image_shape": list(shape), "encoding": "PNG"}
    return {b"dataset": json.dumps(about).encode(), b"huggingface": hugging_face(class_names, soft).encode()}


def _head(signed: Mapping[str, Any], told: Described) -> str:
    tags = ["synthetic", "image", *(["differential-privacy"] if signed["guarantee"] != "none" else [])]
    size = next((words for words, limit in SIZES if told.count < limit), "n>1M")
    names = "".join(f"\n          '{at}': {quoted(name)}" for at, name in enumerate(told.class_names))
    soft = "\n  - name: soft_label\n    sequence: float32" if told.soft else ""
    license = f"license: {quoted(told.license)}" if told.license else "# license: not said; --release.license writes it"
    return f"""{license}
pretty_name: {quoted(told.name)}
tags:
{"".join(f"- {tag}" + chr(10) for tag in tags)}task_categories:
- image-classification
size_categories:
- {size}
configs:
- config_name: default
  default: true
  data_files:
  - split: train
    path: {IMAGES}
dataset_info:
  config_name: default
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:{names}
  - name: split
    dtype: string{soft}
  splits:
  - name: train
    num_bytes: {told.size}
    num_examples: {told.count}
  download_size: {told.size}
  dataset_size: {told.size}
"""


def quoted(text: str) -> str:
    """A YAML string in double quotes."""
    # JSON's own escapes beyond 16 bits are two halves, which YAML does not join.
    return "".join(_escaped(one) for one in json.dumps(text, ensure_ascii=False))


def _escaped(one: str) -> str:
    plain = one == " " or unicodedata.category(one)[0] not in "CZ"
    return one if plain else f"\\U{ord(one):08x}"


def in_markdown(text: str) -> str:
    """Somebody's words as they are: nothing in them is markup, or begins a line."""
    plain = "".join(repr(one)[1:-1] if unicodedata.category(one) in CONTROL else one for one in text)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$&<>:@])", r"\\\1", plain)


def _body(signed: Mapping[str, Any], told: Described) -> str:
    height, width, channels = told.shape
    names = [in_markdown(name) for name in told.class_names[:MOST_NAMES]]
    more = f" and {len(told.class_names) - MOST_NAMES} more" if len(told.class_names) > MOST_NAMES else ""
    colours = "grey" if channels == 1 else "RGB"
    parts = [
        f"# {in_markdown(told.name)}",
        f"**{signed['statement']}**",
        f"{told.count:,} synthetic images, {width} x {height}, {colours}, of "
        f"{so_many(len(told.class_names), 'class')}: {', '.join(names)}{more}. {origin(signed, in_markdown)}",
        "![A row of images per class](samples.png)",
        "## What is promised",
        _promise(signed),
        "## What is here",
        _files(told, signed["guarantee"] != "none"),
        "## How it was made",
        _made(signed),
        "## How to read it",
        _reading(told),
    ]
    return "\n\n".join(parts) + "\n"


def _promise(signed: Mapping[str, Any]) -> str:
    if signed["guarantee"] == "none":
        return "Nothing. Treat these images as you would treat the private ones."
    by = str(signed["accountant"]).upper()
    return f"""| | |
|---|---|
| epsilon | {signed["epsilon"]!r} (by {by}, of the ledger in certificate.json) |
| delta | {signed["delta"]!r} |
| unit | {unit(signed)} |
| neighbours | {signed["adjacency"]} |

{signed["what_an_attacker_can_do"]["sentence"]}

{_meaning(signed["meaning"])}

{signed["account"]["sentence"]}

What the promise does not cover, and which choices were made by looking at private images without being paid for,
stand in certificate.json, under `does_not_cover` and `uncharged_choices`. Other releases made from the same private
images add up with this one. `raysyn verify FOLDER` computes all of this anew from the ledger, and compares every file
with its hash."""


def _meaning(meaning: Mapping[str, Any]) -> str:
    return "\n".join(f"- {part['sentence']}" for part in meaning.values())


def _files(told: Described, promised: bool) -> str:
    soft = ", soft_label (a probability per class)" if told.soft else ""
    if told.asked:
        soft += "; label is the class that was asked for, soft_label what a teacher sees: learn from that one"
    says = "what is promised and what is not" if promised else "that nothing is promised"
    told_there = "the promise under the headings of NIST SP 800-226 and" if promised else "the same under the headings"
    rows = [
        f"- `{IMAGES}`: image (a PNG file), label (a class number), split (always train){soft}",
        "- `samples.png`: a row of images per class",
        f"- `certificate.json`: {says}, and the hash of every file but its own",
        "- `certificate.html`: the certificate on two sheets of paper, for data protection officers",
        f"- `disclosure.json`: {told_there} of the DP deployments registry",
        "- `croissant.json`: this description for machines, as Croissant",
    ]
    but = ", without soft labels" if told.soft else ""
    if "folder" in told.layouts:
        rows.append(f"- `folder/train/CLASS/NUMBER.png`: the same images{but}; `folder/classes.json` has the names")
    if "webdataset" in told.layouts:
        rows.append(f"- `webdataset/train-NUMBER.tar`: the same images{but}, as .png and .cls (the class number)")
    if set(told.layouts) & set(FOLDERS):
        rows.append("- `manifest.json`: the hashes of what is in these folders")
    if told.network:
        rows.append("- `network.safetensors`, `network.json`: what drew them, for `raysyn draw FOLDER --out MORE`")
    return "\n".join(rows)


def _made(signed: Mapping[str, Any]) -> str:
    facts = signed["public_facts"]
    # How many images persons have is theirs, and so is the sum.
    named = "private_persons" in facts
    images = (
        f"images of {facts['private_persons']:,} persons" if named else f"{facts['private_images']:,} private images"
    )
    told = f"By {maker(signed, in_markdown)}, from {images} of the set {in_markdown(facts['name'])}."
    if (again := signed.get("drawn_anew")) is not None:
        told += f" Drawn after the run, at no further cost, with these settings: {in_markdown(again['settings'])}."
    sets = [in_markdown(name) for one in signed["public_images"] for name in one["sets"]]
    return told + (f" Public images were used too: {', '.join(sets)}." if sets else "")


def _reading(told: Described) -> str:
    folder = "folder" in told.layouts
    needed = {"json": folder and told.empty, "pathlib": folder and told.empty, "torchvision": folder,
              "webdataset": "webdataset" in told.layouts}  # fmt: skip
    names = sorted(["datasets", "pandas", *(name for name, used in needed.items() if used)])
    lines = [
        f"import {', '.join(names)}",
        'datasets.load_dataset("FOLDER", split="train")  # decoded images, named classes',
        f'pandas.read_parquet("FOLDER/{IMAGES}")  # image: the bytes of a PNG file',
    ]
    if folder:
        lines += ['found = torchvision.datasets.ImageFolder("FOLDER/folder/train")', *(BY_NAME if told.empty else ())]
    if "webdataset" in told.layouts:
        lines.append('webdataset.WebDataset("FOLDER/webdataset/train-000000.tar").decode("pil").to_tuple("png", "cls")')
    return "\n".join(["```python", *lines, "```"])
