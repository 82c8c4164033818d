"""What is said of the images of two runs: never more than their sketches can tell."""

from __future__ import annotations

import pytest

from raysyn.privacy.account import Account, Run
from raysyn.privacy.cost import ADD_REMOVE
from raysyn.privacy.sketch import SIZE, Sketch
from raysyn.report.account_told import recognised

KEY = b"k"
SMALL, LARGE = (8, 8, 1), (16, 16, 1)


def run(name: str, first: int, last: int, shape: tuple[int, int, int] = SMALL) -> Run:
    return Run(
        run=name, method="m", preset=name, folder=f"/runs/{name}", time="t", adjacency=ADD_REMOVE, units=last - first,
        images=last - first, shape=shape, guarantee="none", delta=None,
        sketch=Sketch.of((str(one).encode() for one in range(first, last)), KEY),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("earlier", "mine", "said", "never"),
    [
        ([(0, 100)], (0, 50), "All of these images were in m 0, /runs/0.", "sample"),
        ([(0, SIZE)], (0, SIZE), "All of these images", "sample"),
        ([(0, 100)], (50, 150), "About 50 % of these images", "sample"),
        ([(0, 100)], (100, 150), "None of these images was in an earlier run, pixel by pixel", "sample"),
        # 95 % of 1,000 of a set of 20,000, of which a sample of about 50 can be compared.
        ([(0, 20_000)], (19_050, 20_050), "of a sample of ", "All of"),
        ([(0, 20_000)], (0, 20_000), "About 100 % of a sample of 1,024", "All of"),
        ([(0, 20_000)], (19_990, 22_000), " sampled images was in an earlier run", "None of these"),
        ([(0, 90_000)], (0, 100), "cannot be told: there are too many more or fewer.", "size"),
        ([(0, 100, LARGE)], (0, 100), "Whether its images were in an earlier run cannot be told: they were", "many"),
        ([(0, 100), (0, 100, LARGE)], (0, 50), "All of these images were in m 0, /runs/0. Whether its images", "many"),
        ([(0, 100), (0, 100, LARGE)], (200, 250), "of 1 earlier run cannot be told: they were read in", "too many"),
        ([(0, 100, LARGE), (0, 90_000)], (0, 90), "there are too many more", "None"),
    ],
)  # fmt: skip
def test_all_and_none_are_said_where_every_image_was_compared(
    earlier: list[tuple[int, ...]], mine: tuple[int, int], said: str, never: str
) -> None:
    runs = {str(at): run(str(at), *one) for at, one in enumerate(earlier)}  # type: ignore[arg-type]
    told = recognised(Account(id="", key=KEY, runs=runs), run("mine", *mine))
    assert said in told and never not in told
