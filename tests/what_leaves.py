"""What every release is held to: exactly these files, fields and chunks, made of nothing but paid answers."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from raysyn.data.images import Dataset, Images, load
from raysyn.data.public import Public
from raysyn.report.card import Described, card
from raysyn.report.croissant import croissant
from raysyn.report.release import pages_of
from raysyn.runs.may_leave import ALARMS
from raysyn.runs.storage import load_saved

FILES = (
    "README.md", "certificate.html", "certificate.json", "croissant.json", "disclosure.json", "samples.png",
    "synthetic.parquet",
)  # fmt: skip
_ALWAYS = """statement guarantee covers uncharged_choices public_images public_networks made_by.raysyn made_by.method
public_facts.name public_facts.private_images public_facts.shape public_facts.classes
files.samples.png.sha256 files.synthetic.parquet.sha256 files.README.md.sha256 files.croissant.json.sha256
files.disclosure.json.sha256 files.certificate.html.sha256"""
_PAID = """epsilon delta delta_beside adjacency accountant priced_by epsilon_prv epsilon_rdp does_not_cover
ledger.stage ledger.mechanism ledger.noise_multiplier ledger.sampling_rate ledger.steps ledger.epsilon_alone
ledger.adjacency ledger.note account.sentence
what_an_attacker_can_do.sentence what_an_attacker_can_do.most_right_guesses
what_an_attacker_can_do.most_found_at_false_alarms.0.001 what_an_attacker_can_do.most_found_at_false_alarms.0.01
what_an_attacker_can_do.most_found_at_false_alarms.0.1
meaning.trade_off.sentence meaning.advantage.sentence meaning.advantage.most meaning.best_guess.sentence
meaning.best_guess.most_right_at_prior.0.5 meaning.best_guess.most_right_at_prior.0.01 meaning.deltas.sentence
meaning.deltas.at.epsilon meaning.deltas.at.delta meaning.gaussian.sentence meaning.gaussian.mu
meaning.several_images.sentence meaning.several_images.epsilon_with.2 meaning.several_images.epsilon_with.4
meaning.several_images.epsilon_with.8"""
_PUBLIC = """public_images.sets public_images.images public_images.sha256 public_images.validation_images
public_images.validation_sha256"""
NO_PROMISE = frozenset(_ALWAYS.split())
_CURVE = {f"meaning.trade_off.least_missed_at_false_alarms.{share}" for share in ALARMS}
PROMISE = NO_PROMISE | frozenset(_PAID.split()) | _CURVE
WITH_PUBLIC_IMAGES = frozenset(_PUBLIC.split())
WITH_RELEASED_PUBLIC_IMAGES = WITH_PUBLIC_IMAGES | {"public_images.released"}
WITH_PUBLIC_NETWORKS = frozenset({"public_networks.name", "public_networks.sha256"})
"""Fields of certificate.json by their places; those inside lists once."""


@dataclass(frozen=True)
class Left:
    """A run that has ended, and what it was given."""

    out: Path
    config: Any
    dataset: Dataset
    public: Public | None = None

    @property
    def certificate(self) -> dict[str, Any]:
        return json.loads((self.out / "release" / "certificate.json").read_text())

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.out / "internal" / "report.json").read_text())


def pinned(left: Left, fields: frozenset[str], *, soft: bool = False, student: bool = False) -> None:
    """release/ holds these files, of these contents, and nothing else."""
    there, own = left.out / "release", left.dataset.train
    assert sorted(path.name for path in there.iterdir()) == sorted((*FILES, *(["student.pt"] if student else [])))
    assert set(places(left.certificate)) == fields | ({"files.student.pt.sha256"} if student else set())
    plain([there / "samples.png"])
    read = pq.read_table(there / "synthetic.parquet")
    columns = [("image", pa.binary()), ("label", pa.int64()), ("split", pa.string())]
    columns += [("soft_label", pa.list_(pa.float32()))] if soft else []
    assert [(one.name, one.type) for one in read.schema] == columns and all(one.nullable for one in read.schema)
    about = {
        "name": f"synthetic {left.dataset.name}", "classes": list(own.class_names), "image_shape": list(own.shape),
        "encoding": "PNG",
    }  # fmt: skip
    kept = {b"dataset", b"huggingface"}
    assert read.schema.metadata.keys() == kept and json.loads(read.schema.metadata[b"dataset"]) == about
    features = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]
    assert features.keys() == {name for name, _ in columns} and features["label"]["names"] == list(own.class_names)
    assert pq.read_metadata(there / "synthetic.parquet").metadata.keys() == kept | {b"ARROW:schema"}
    for name, content in pages_of(left.certificate).items():
        assert (there / name).read_bytes() == content, f"{name} is made of nothing but the certificate"
    for name in ("README.md", "croissant.json"):
        described(left, (there / name).read_text(), soft)
    assert all(not one.metadata for one in read.schema) and set(read["split"].to_pylist()) == {"train"}
    plain(read["image"].to_pylist())
    if student:
        content = torch.load(there / "student.pt", weights_only=True)
        assert content.keys() == {"weights", "network", "shape", "classes"} and content["shape"] == list(own.shape)
        assert content["classes"] == list(own.class_names)
        names = {name.partition("/")[2] for name in zipfile.ZipFile(there / "student.pt").namelist()}
        others = {name for name in names if not re.fullmatch(r"data/\d+", name)}
        assert others <= {"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment",
                          ".data/serialization_id"}  # fmt: skip


def described(left: Left, text: str, soft: bool) -> None:
    """A card is made of nothing but the certificate and what stands in synthetic.parquet."""
    there, certificate = left.out / "release" / "synthetic.parquet", left.certificate
    rows, table = pq.read_metadata(there).num_rows, pq.read_table(there)
    likeliest = [one.index(max(one)) for one in table["soft_label"].to_pylist()] if soft else []
    asked = soft and likeliest != table["label"].to_pylist()
    told = Described(
        name=f"synthetic {left.dataset.name}", count=rows, shape=left.dataset.train.shape,
        class_names=left.dataset.train.class_names, soft=soft, asked=asked, size=there.stat().st_size,
    )  # fmt: skip
    # What is declared later is no part of it.
    certificate.pop("uncharged_choices")
    assert text in (card(certificate, told), croissant(certificate, told, certificate["files"][there.name]["sha256"]))


def places(value: Any, at: str = "") -> Iterator[str]:
    """Dotted names of all fields, those inside a list without their number."""
    inside = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, f"{at}.{name}" if at else name)
    elif inside:
        for one in inside:
            yield from places(one, at)
        # A list is a field itself, whether it is empty or not.
        yield from [at] if at in ("public_images", "public_networks") else []
    else:
        yield at


def plain(pictures: list[Any]) -> None:
    """PNG files of the three chunks that a picture needs: no text, time, profile or EXIF."""
    for one in pictures:
        file = io.BytesIO(one if isinstance(one, bytes) else one.read_bytes())
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
        chunks = []
        while length := file.read(4):
            chunks.append(file.read(4).decode())
            file.seek(int.from_bytes(length) + 4, 1)
        assert chunks[0] == "IHDR" and chunks[-1] == "IEND" and set(chunks[1:-1]) == {"IDAT"}, chunks


def kept_as_paid(out: Path, to: Path) -> set[str]:
    """A copy of a run that lacks what it made of its paid answers: names of the stages that are gone."""
    shutil.copytree(out, to)
    paid = {json.loads(line)["stage"] for line in (to / "internal" / "ledger.jsonl").read_text().splitlines()}
    for path in [*(to / "internal").iterdir(), to / "release"]:
        if path.is_dir() and path.name != "stages":
            shutil.rmtree(path)
    # What judges has a mark in its name; it looks at real images, after the release.
    gone = {one for one in (to / "internal" / "stages").iterdir() if one.stem not in paid and "-" not in one.stem}
    for path in gone:
        path.unlink()
    return {path.name for path in gone}


def other_images(dataset: Dataset) -> Dataset:
    """As many images of the same shape and classes, which show and are something else."""

    def changed(part: Images) -> Images:
        return Images(255 - part.images_NHWC, (part.labels_N + 1) % part.classes, part.class_names)

    return replace(dataset, train=changed(dataset.train), test=changed(dataset.test))


def alike(one: Any, other: Any) -> bool:
    """Stored answers, down to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


def made_of_paid_answers(
    run: Callable[[Any, Path], Any], method: Any, config: Any, out: Path, to: Path, patch: pytest.MonkeyPatch
) -> None:
    """The paid answers of the run in `out` make the same release, and the same of every stage on the way, whatever the
    private images are."""
    gone = kept_as_paid(out, to)
    assert gone and not (to / "release").exists()
    patch.setattr(method, "load", lambda asked: other_images(load(asked)))
    patch.setattr("raysyn.runs.folder.refuse_another_run", lambda *_: None)
    run(config, to)
    for name in gone:
        assert alike(*(load_saved(folder / "internal" / "stages" / name) for folder in (out, to))), name
    for path in (out / "release").iterdir():
        assert path.read_bytes() == (to / "release" / path.name).read_bytes(), path.name
