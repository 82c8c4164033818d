"""Which images an attack on classifiers exposes, one by one: a table of all that it compared and, where it is asked
for, a picture of the training images that it is surest of. Both hold what is private and stay inside; the report says
how many there are, not which."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.pool import prints
from raysyn.attacks.verdict import placed
from raysyn.data.images import Images
from raysyn.methods.common import Setting
from raysyn.report.pictures import mosaic, png_bytes
from raysyn.report.report import Section
from raysyn.runs.storage import write_atomically

TABLE, PICTURE = "attacked.parquet", "exposed.png"
ACROSS = 8
ABOVE = (95, 99, 99.9)
"""Percent of the non-members that a member lies above."""


def expose(setting: Setting, found: Mapping[str, Any], members: Images) -> list[Section]:
    """Write both files, from what `attacks.membership.attack` found of `members`; what the report says of them.

    Of persons every image has its person's score, and it is persons that are ranked.
    """
    if not found["attacks"]:
        return []
    train, test, folder = setting.dataset.train, setting.dataset.test, setting.folder
    rows_N, members_N = (np.array(found["each"][name]) for name in ("rows", "members"))
    index_N = np.concatenate((_places(members, train)[rows_N[members_N]], rows_N[~members_N]))
    sides = (train.select(index_N[members_N]), test.select(index_N[~members_N]))
    labels_N = np.concatenate([side.labels_N for side in sides])
    persons_N = _persons(train, test, index_N, members_N)
    columns: dict[str, list[Any]] = {}
    rows, shown = [], []
    for target, score in found["each"]["score"].items():
        score_N = np.array(score)
        rank_N, percentile_N = _ranked(score_N, members_N, persons_N)
        new = {
            "target": [target] * len(score_N),
            "split": np.where(members_N, "train", "test").tolist(),
            "index": index_N.tolist(),
            "label": [train.class_names[label] for label in labels_N],
            **({} if persons_N is None else {"person": persons_N.tolist()}),
            "member": members_N.tolist(),
            "score": score,
            "rank": rank_N.tolist(),
            "percentile": percentile_N.tolist(),
        }
        columns = {name: columns.get(name, []) + values for name, values in new.items()}
        rows.append((target, *_counts(percentile_N[members_N], None if persons_N is None else persons_N[members_N])))
        order = np.argsort(-score_N[members_N], kind="stable")[: setting.config.attack.show_exposed]
        shown.append(sides[0].images_NHWC[order])
    write_atomically(folder.internal / TABLE, parquet(columns), 0o600)
    if setting.config.attack.show_exposed:
        _draw(setting, shown)
    else:
        (folder.internal / PICTURE).unlink(missing_ok=True)
    return [_section(rows, "image" if persons_N is None else "person", setting.config.attack.show_exposed)]


def _places(members: Images, train: Images) -> NDArray[np.int64]:
    """Where each of `members` lies among the training images, of which they are all or a part; of copies the first."""
    if members is train:
        return np.arange(len(train))
    own, first = np.unique(prints(train), return_index=True)
    return first[np.searchsorted(own, prints(members))]


def _persons(
    train: Images, test: Images, index_N: NDArray[np.int64], members_N: NDArray[np.bool_]
) -> NDArray[np.int64] | None:
    """Numbers of persons as the data set has them on each side, those of the test side after the others; an image
    that is nobody's on a side without names is a person of its own."""
    if train.persons_N is None and test.persons_N is None:
        return None
    numbers = [np.arange(len(side)) if side.persons_N is None else side.persons_N for side in (train, test)]
    return np.concatenate((numbers[0][index_N[members_N]], train.units + numbers[1][index_N[~members_N]]))


def _ranked(
    score_N: NDArray[np.float64], members_N: NDArray[np.bool_], persons_N: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """1 for the most exposed of all images (or persons), ties sharing the better rank; and the percent of non-members
    that lie below, ties counting half, of a non-member the others."""
    first_U, back_N = np.arange(len(score_N)), np.arange(len(score_N))
    if persons_N is not None:
        _, first_U, back_N = np.unique(persons_N, return_index=True, return_inverse=True)
    score_U, members_U = score_N[first_U], members_N[first_U]
    rank_U = 1 + np.searchsorted(np.sort(-score_U), -score_U, "left")
    others = int((~members_U).sum())
    below_U = placed(score_U, score_U[~members_U]) * others
    # A non-member ties with itself, which counted half.
    share_U = np.where(members_U, below_U / others, (below_U - 0.5) / max(1, others - 1))
    return rank_U[back_N], 100 * share_U[back_N]


def _counts(percentile_M: NDArray[np.float64], persons_M: NDArray[np.int64] | None) -> list[str]:
    """How many members lie above so many percent of the non-members, and above all."""
    each = percentile_M if persons_M is None else percentile_M[np.unique(persons_M, return_index=True)[1]]
    return [f"{len(each):,}", *(f"{int((each >= limit).sum()):,}" for limit in (*ABOVE, 100))]


def parquet(columns: Mapping[str, list[Any]]) -> bytes:
    """The file of such a table."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def _draw(setting: Setting, shown: list[NDArray[np.uint8]]) -> None:
    """Of each target rows of its own, the most exposed first."""
    scale = max(1, round(64 / shown[0].shape[1]))
    sheets = [mosaic(images, ACROSS, scale, 2) for images in shown]
    write_atomically(setting.folder.internal / PICTURE, png_bytes(np.concatenate(sheets)), 0o600)
    setting.console.say(f"Most exposed training images, in a file that stays inside until you delete it: {PICTURE}")


def _section(rows: list[tuple[str, ...]], unit: str, drawn: int) -> Section:
    picture = (
        f"The {drawn} that the attack is surest of, of each model, are drawn in internal/{PICTURE}, row by row."
        if drawn
        else "To see those that the attack is surest of, in a file of their own that then holds private images: "
        "--attack.show-exposed 16."
    )
    head = ("Model", "Members", *(f"above {limit:g} % of the non-members" for limit in ABOVE), "above all of them")
    return Section(
        title=f"Which {unit}s are most exposed",
        text=f"Members by how many non-members they lie above, by the headline's variant. Who they are stands in "
        f"internal/{TABLE}: of every image compared its place among the training (or test) images, its class, its "
        "score, its rank and the percent of non-members below. Of so many members a few lie high by chance: about 1 % "
        "of them above 99 % of the non-members, more where these are few, and one in n + 1 above all of n non-members. "
        f"{picture} Both files stay inside, until you delete them.",
        rows=[head, *rows],
    )
