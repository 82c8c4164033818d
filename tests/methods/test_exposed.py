"""Which images an attack exposes: the table and the picture, without any training."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.attacks.pool import Pool, make_pool
from raysyn.attacks.whose import Whose
from raysyn.data.images import Images
from raysyn.methods.exposed import expose


def some(count: int, seed: int, persons: bool) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    whose_N = rng.permutation(np.arange(count) // 3) if persons else None
    return Images(pixels, rng.integers(0, 2, count), ("a", "b"), whose_N)


def exposed(
    tmp_path: Path, train: Images, test: Images, members: Images, drawn: int
) -> tuple[Pool, dict[str, Any], Any]:
    """The pool, what stands in the table by column, and the section: by two targets, the second told nothing."""
    pool = make_pool(members, test, None, 0)
    whose = Whose.of(pool.images)
    score_U = np.random.default_rng(1).permutation(whose.units(len(pool.images))).astype(float)
    score = {"it": whose.images_of(score_U).tolist(), "dull": [0.0] * len(pool.images)}
    found = {"attacks": {"it": 0, "dull": 0}, "each": {
        "rows": pool.rows_N.tolist(), "members": pool.members_N.tolist(), "score": score}}  # fmt: skip
    (tmp_path / "internal").mkdir()
    (tmp_path / "internal/exposed.png").write_bytes(b"of an earlier command that asked for it")
    setting: Any = SimpleNamespace(
        dataset=SimpleNamespace(train=train, test=test),
        folder=SimpleNamespace(internal=tmp_path / "internal"),
        config=SimpleNamespace(attack=SimpleNamespace(show_exposed=drawn)),
        console=SimpleNamespace(say=lambda sentence: None),
    )
    (section,) = expose(setting, found, members)
    return pool, pq.read_table(tmp_path / "internal/attacked.parquet").to_pydict(), section


@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("held_out", [False, True])
def test_every_image_is_found_again_in_the_data_set(tmp_path: Path, persons: bool, held_out: bool) -> None:
    """Also where the classifier learned from a part of the training images: places are those among all of them."""
    train, test = some(60, 0, persons), some(40, 1, persons)
    part = train if not held_out or train.persons_N is None else train.select(train.persons_N % 4 > 0)
    if held_out and not persons:
        part = train.select(np.arange(60) % 4 > 0)
    pool, table, section = exposed(tmp_path, train, test, part, 0)
    sides = {"train": train, "test": test}
    assert len(table["target"]) == 2 * len(pool.images)
    for at, pixels in enumerate(pool.images.images_NHWC):
        own, index = sides[table["split"][at]], table["index"][at]
        assert (own.images_NHWC[index] == pixels).all() and table["label"][at] == "ab"[own.labels_N[index]]
        assert table["member"][at] == pool.members_N[at]
        if own.persons_N is not None:
            offset = 0 if table["member"][at] else train.units
            assert table["person"][at] == offset + own.persons_N[index]
    assert (
        "person" in table
    ) == persons and section.title == f"Which {'person' if persons else 'image'}s are most exposed"


@pytest.mark.parametrize("persons", [False, True])
def test_ranks_are_of_units_and_nobody_is_compared_with_themselves(tmp_path: Path, persons: bool) -> None:
    train, test = some(60, 0, persons), some(40, 1, persons)
    pool, table, section = exposed(tmp_path, train, test, train, 0)
    half, units = len(pool.images), pool.images.units
    assert set(table["rank"][:half]) == set(range(1, units + 1)), "scores are the numbers from 0 on"
    assert {table["percentile"][at] for at in range(half, 2 * half)} == {50.0}, "whom nothing tells apart"
    whose = Whose.of(pool.images)
    others_U = ~whose.one_each(pool.members_N)
    score_U = np.array(
        [np.array(table["score"][:half])[whose.images_of(np.arange(units)) == unit][0] for unit in range(units)]
    )
    for at in range(half):
        against = score_U[others_U]
        against = against if table["member"][at] else against[against != table["score"][at]]
        assert table["percentile"][at] == pytest.approx(100 * (against < table["score"][at]).mean())
    told = section.rows[1]
    assert told[1] == f"{int((~others_U).sum()):,}" and told[-1] == str(
        int((score_U[~others_U] > score_U[others_U].max()).sum())
    )


@pytest.mark.parametrize("drawn", [0, 3])
def test_a_picture_is_made_only_on_request_and_of_members_alone(tmp_path: Path, drawn: int) -> None:
    train, test = some(60, 0, False), some(40, 1, False)
    _, table, section = exposed(tmp_path, train, test, train, drawn)
    path = tmp_path / "internal/exposed.png"
    assert path.exists() == bool(drawn) and (f"The {drawn} that the attack" in section.text) == bool(drawn)
    if not drawn:
        return
    assert path.stat().st_mode & 0o777 == 0o600
    sheet = np.array(Image.open(io.BytesIO(path.read_bytes())))
    best = sorted(
        (at for at in range(len(table["score"]) // 2) if table["member"][at]), key=lambda at: -table["score"][at]
    )
    for place, at in enumerate(best[:drawn]):
        left = 2 + place * (4 * 16 + 2)
        assert (sheet[2 : 2 + 64 : 16, left : left + 64 : 16, 0] == train.images_NHWC[table["index"][at]][..., 0]).all()
