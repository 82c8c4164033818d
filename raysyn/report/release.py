"""What may leave the building: synthetic.parquet, samples.png, its card, certificate.json."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.privacy.cost import ADD_REMOVE_PERSON, delta_beside, unit_of
from raysyn.report.card import CARD, IMAGES, Described, card, described
from raysyn.report.choices import added_up
from raysyn.report.croissant import CROISSANT, croissant
from raysyn.report.disclosure import DISCLOSURE, disclosure
from raysyn.report.layouts import MANIFEST, laid_out, manifest
from raysyn.report.page import PAGE, page
from raysyn.report.pictures import png_bytes, sample_sheet
from raysyn.report.release_config import ReleaseConfig
from raysyn.report.terms import terms
from raysyn.runs import may_leave
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import local_folder, read_bytes, write_atomically, write_bytes
from raysyn.runs.versions import version
from raysyn.screen.words import rounded_up

ALONE = (
    "This certificate covers this run alone: it is in no account of what else was made of these images, whose epsilons "
    "and deltas add up."
)
"""What it says of the account over all runs, where none was kept."""

AS_USUAL = ReleaseConfig()
RELEASE, CERTIFICATE = "release", "certificate.json"

ALWAYS = (IMAGES, "samples.png", CARD, CROISSANT, DISCLOSURE, PAGE)
"""Files that every release has, beside its certificate."""

SPENT = ["epsilon", "delta", "adjacency", "accountant", "priced_by", "epsilon_prv", "epsilon_rdp"]
SPENT += ["what_an_attacker_can_do", "meaning", "ledger"]
"""Of report.json's `privacy`, what the certificate states too."""


def write_release(folder: RunFolder, images: Images, certificate: Mapping[str, Any], **told: Any) -> None:
    """Write release/, whole or not at all; all that is `told` is of `release_files`.

    The same images give the same bytes. Written anew, the certificate keeps the uncharged choices it had: what was once
    looked at stays so. ValueError, before anything is written, for what `may_leave` does not list.
    """
    if (earlier := folder.signed()) is not None:
        choices = added_up(earlier["uncharged_choices"], certificate["uncharged_choices"])
        certificate = {**certificate, "uncharged_choices": choices}
    folder.publish(release_files(images, certificate, **told))


def release_files(
    images: Images,
    certificate: Mapping[str, Any],
    *,
    name: str,
    soft_labels: np.ndarray | None = None,
    more: Mapping[str, bytes] | None = None,
    written: ReleaseConfig = AS_USUAL,
) -> dict[str, bytes]:
    """The files of release/ by name: the images (with `soft_labels` (N, classes), if any), a picture, the card, and the
    certificate, which is last.

    `name` is the data set's name inside the Parquet file, `more` are further files by name, `written` says what else
    the images are written as.
    """
    pictures = [png_bytes(image) for image in images.images_NHWC]
    table = parquet_bytes(images, name, soft_labels, pictures)
    contents = {IMAGES: table, "samples.png": png_bytes(sample_sheet(images)), **(more or {})}
    spread = laid_out(pictures, images.labels_N.tolist(), images.class_names, written.layout)
    if spread:
        contents[MANIFEST] = manifest(spread)
    may_leave.check(certificate, [*contents, *spread])
    told = Described(
        name=name, count=len(images), shape=images.shape, class_names=images.class_names, soft=soft_labels is not None,
        asked=soft_labels is not None and others_likelier(soft_labels, images.labels_N),
        size=len(table), layouts=written.layout, license=written.license,
        network=may_leave.NETWORK_WEIGHTS in contents, empty=len(set(images.labels_N.tolist())) < images.classes,
    )  # fmt: skip
    contents[CARD] = card(certificate, told).encode()
    contents[CROISSANT] = croissant(certificate, told, hashlib.sha256(table).hexdigest()).encode()
    # The hashes tie the certificate to these very files.
    signed = {**certificate, "files": {file: _hashed(content) for file, content in contents.items()}}
    pages = pages_of(signed)
    signed["files"] |= {file: _hashed(content) for file, content in pages.items()}
    return {**contents, **spread, **pages, CERTIFICATE: _as_text(signed).encode()}


def others_likelier(soft_NK: np.ndarray, labels_N: Sequence[int] | np.ndarray) -> bool:
    """Whether a label is not the likeliest one of its soft label, as that is written."""
    return bool((soft_NK.astype(np.float32).argmax(1) != np.asarray(labels_N)).any())


def pages_of(signed: Mapping[str, Any]) -> dict[str, bytes]:
    """What tells a certificate otherwise, and is made of it alone."""
    made = {DISCLOSURE: disclosure(signed), PAGE: page(signed)}
    return {name: text.encode(errors="replace") for name, text in made.items()}


def _hashed(content: bytes) -> dict[str, str]:
    return {"sha256": hashlib.sha256(content).hexdigest()}


def declare(out: str, choice: str) -> None:
    """Add an uncharged choice to the certificate of the run in `out`, a folder or URI, if it has one by now, and to the
    pages that repeat it."""
    try:
        signed = json.loads(read_bytes(out, f"{RELEASE}/{CERTIFICATE}"))
    except FileNotFoundError:
        return
    told = added_up(signed["uncharged_choices"], [choice])
    if told == signed["uncharged_choices"]:
        return
    signed["uncharged_choices"] = told
    may_leave.check(signed, ())
    pages = pages_of(signed) if PAGE in signed.get("files", {}) else {}
    signed |= {"files": signed["files"] | {name: _hashed(page) for name, page in pages.items()}} if pages else {}
    # The certificate last: until it is there, to declare the same again is to write all of them again.
    for name, content in {**pages, CERTIFICATE: _as_text(signed).encode()}.items():
        if (here := local_folder(out)) is None:
            write_bytes(out, f"{RELEASE}/{name}", content)
        else:
            write_atomically(here / RELEASE / name, content)


def _as_text(signed: Mapping[str, Any]) -> str:
    may_leave.check(signed, ())
    text = json.dumps(signed, indent=2, ensure_ascii=False)
    # The sentence opens the first line of the file, before anything else.
    return "{" + text[1:].lstrip() + "\n"


def certificate(
    privacy: Mapping[str, Any],
    *,
    method: str,
    name: str,
    n: int,
    shape: Sequence[int],
    class_names: Sequence[str],
    persons: int | None = None,
    package: str | None = None,
    public_images: Sequence[Mapping[str, Any]] = (),
    public_networks: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """What was spent and what that promises, from report.json's `privacy`; no figure measured on real data.

    `name`, `n`, `shape`, `class_names` and, where they are named, the number of `persons` describe the private data and
    are public by definition; `package` is whose the method is, where it is not raysyn's; `public_images` (from
    `Public.described`) and `public_networks` (name, sha256) are what else the release was made from.
    ValueError for a `privacy` of another version, which lacks what is certified here.
    """
    head = {"statement": statement(privacy), "guarantee": privacy["guarantee"]}
    tail = {
        "uncharged_choices": list(privacy["uncharged_choices"]),
        "public_facts": {
            "name": name,
            **({"private_images": n} if persons is None else {"private_persons": persons}),
            "shape": list(shape),
            "classes": list(class_names),
        },
        "public_images": [dict(one) for one in public_images],
        "public_networks": [dict(one) for one in public_networks],
        "made_by": {"raysyn": version(), "method": method, **({} if package is None else {"package": package})},
    }
    if privacy["guarantee"] == "none":
        return {**head, "covers": [], **tail}
    if missing := [key for key in SPENT if key not in privacy]:
        raise ValueError(
            f"privacy has no {', '.join(missing)}, as it would be of another version of raysyn: run again with this one"
        )
    spent = {key: privacy[key] for key in SPENT}
    spent["account"] = privacy.get("account", {"sentence": ALONE})
    adjacency = privacy["adjacency"]
    spent["delta_beside"] = delta_beside(privacy["delta"], n if persons is None else persons, unit_of(adjacency))
    return {**head, **spent, **terms({**spent, **tail}), **tail}


def statement(privacy: Mapping[str, Any]) -> str:
    """The certificate's first sentence, in plain words."""
    if privacy["guarantee"] == "none":
        return (
            "There is NO differential privacy guarantee: the released images may reveal things about the "
            "private images that they were made from."
        )
    epsilon, delta = rounded_up(privacy["epsilon"]), rounded_up(privacy["delta"])
    whose = "any one image was among the private images"
    if privacy["adjacency"] == ADD_REMOVE_PERSON:
        whose = "any one person with all their images was among the private persons"
    return (
        f"This release is ({epsilon}, {delta})-differentially private: whether {whose} or not changes the probability "
        f"of any outcome by at most a factor e^{epsilon} (plus {delta})."
    )


def parquet_bytes(
    images: Images, name: str, soft_labels: np.ndarray | None = None, pictures: Sequence[bytes] | None = None
) -> bytes:
    """Columns image (PNG bytes), label, split = "train" and, if given, soft_label; `data.load` reads it back, and
    `datasets.load_dataset` as decoded images. `pictures` are the images as PNG files, where they are made already.

    Compression and row groups are fixed and nothing depends on the time or the machine.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow as pa

    n = len(images.labels_N)
    columns = {
        "image": pa.array(pictures or [png_bytes(image) for image in images.images_NHWC], pa.binary()),
        "label": pa.array(images.labels_N, pa.int64()),
        "split": pa.array(["train"] * n, pa.string()),
    }
    if soft_labels is not None:
        assert soft_labels.shape == (n, len(images.class_names)), soft_labels.shape
        columns["soft_label"] = pa.array(list(soft_labels.astype(np.float32)), pa.list_(pa.float32()))
    about = described(name, images.class_names, images.images_NHWC.shape[1:], soft_labels is not None)
    return packed(pa.table(columns).replace_schema_metadata(about))


def packed(table: Any) -> bytes:
    """A table of images as a Parquet file, in the one way that `raysyn verify` reads."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    # PNG is compressed already; the dictionary makes the constant columns vanish.
    pq.write_table(table, buffer, row_group_size=10_000, compression="none", use_dictionary=["label", "split"])
    return buffer.getvalue()


def read_images(content: bytes) -> Images:
    """The images of a synthetic.parquet, as they were released."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(io.BytesIO(content))
    about = json.loads(table.schema.metadata[b"dataset"])
    pictures = [np.asarray(Image.open(io.BytesIO(one))) for one in table["image"].to_pylist()]
    images_NHWC = np.stack(pictures).reshape(len(pictures), *about["image_shape"])
    return Images(images_NHWC, table["label"].to_numpy(), tuple(about["classes"]))


def state_bytes(weights: Mapping[str, torch.Tensor], network: Mapping[str, Any], like: Images) -> bytes:
    """A file for `torch.load(..., weights_only=True)`: weights, the network's settings, image shape and classes."""
    buffer = io.BytesIO()
    about = {"network": dict(network), "shape": list(like.shape), "classes": list(like.class_names)}
    torch.save({"weights": dict(weights), **about}, buffer)
    return buffer.getvalue()
