"""The classifier of public classes: it learns, survives a kill, keeps its best epoch, looks at images one by one."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from ranks import on_ranks

from raysyn.compute.worker import Alone, Worker
from raysyn.data.images import Images
from raysyn.models.semantic import SemanticNetConfig
from raysyn.train import semantic
from raysyn.train.semantic import QueryConfig, top_classes

SMALL = QueryConfig(
    network=SemanticNetConfig(name="resnet14", width=4), epochs=6, batch_size=20, learning_rate=0.1, flip=False
)


def stripes(n: int, seed: int = 0) -> Images:
    """Three classes: a bright row, a bright column, both."""
    rng, labels = np.random.default_rng(seed), np.arange(n, dtype=np.int64) % 3
    pixels = rng.integers(0, 80, (n, 8, 8, 1), np.uint8)
    pixels[labels != 1, 3] = 255
    pixels[labels != 0, :, 4] = 255
    return Images(pixels, labels, ("row", "column", "both"))


def trained(worker: Worker) -> dict:
    torch.manual_seed(0)
    return semantic.fit(worker, SMALL.network.build(1, 3), stripes(60), stripes(30, 1), SMALL, 0)


class Interrupted(Alone):
    """Stops at an epoch, once; what was saved is found again."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.saved, self.stop_at = None, stop_at

    def save(self, state: dict) -> None:
        self.saved = {**state, "network": {name: value.clone() for name, value in state["network"].items()}}

    def resume(self) -> dict | None:
        return self.saved

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if done == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt


def test_it_learns_and_keeps_its_best_epoch() -> None:
    answer = trained(Alone())
    accuracies = [row["accuracy"] for row in answer["history"]]
    assert answer["accuracy"] == max(accuracies) > 0.9 and len(accuracies) == 6
    assert accuracies[answer["epoch"] - 1] == answer["accuracy"]
    network = SMALL.network.build(1, 3)
    network.load_state_dict(answer["weights"])
    told = top_classes(network, stripes(30, 1).images_NHWC, 1, torch.device("cpu"))[:, 0]
    assert np.mean(told == stripes(30, 1).labels_N) == pytest.approx(answer["accuracy"])


def test_a_killed_training_ends_as_if_nothing_had_happened() -> None:
    whole = trained(Alone())
    worker = Interrupted(stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        trained(worker)
    again = trained(worker)
    assert again["history"] == whole["history"] and again["epoch"] == whole["epoch"]
    assert all(torch.equal(again["weights"][name], value) for name, value in whole["weights"].items())


def test_two_ranks_share_the_work() -> None:
    first = SMALL.network.build(1, 3)

    def rank(worker: Worker) -> dict:
        return semantic.fit(worker, copy.deepcopy(first), stripes(60), stripes(30, 1), SMALL, 0)

    answers, _ = on_ranks(rank, 2)
    assert answers[0]["accuracy"] == answers[1]["accuracy"] > 0.9
    # Running statistics too: what is judged is what is kept, and what a restart goes on from.
    for name, value in answers[0]["weights"].items():
        assert torch.equal(value, answers[1]["weights"][name]), name


def test_what_is_seen_in_an_image_is_its_own_and_small_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = SMALL.network.build(1, 3), stripes(20).images_NHWC
    whole = top_classes(network, images, 2, torch.device("cpu"))
    assert whole.shape == (20, 2) and (whole[:, 0] != whole[:, 1]).all()
    alone = np.concatenate([top_classes(network, one[None], 2, torch.device("cpu")) for one in images])
    assert np.array_equal(whole, alone)

    def greedy(module: torch.nn.Module, given: tuple) -> None:
        if len(given[0]) > 6:
            raise torch.OutOfMemoryError

    network.register_forward_pre_hook(greedy)
    assert np.array_equal(top_classes(network, images, 2, torch.device("cpu")), whole)
    assert top_classes(network, images[:0], 2, torch.device("cpu")).shape == (0, 2)


def test_the_papers_network_is_a_resnet_50_for_small_images() -> None:
    network = SemanticNetConfig().build(3, 1000)
    # torchvision's 25,557,032, less 7 x 7 - 3 x 3 = 40 places of 3 x 64 weights.
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - 40 * 3 * 64
    small = SemanticNetConfig(width=4).build(1, 5).eval()
    assert small(torch.zeros(2, 1, 16, 16)).shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet14", "resnet50"])
def test_large_images_are_seen_at_the_side_of_the_paper(name: str) -> None:
    """C.2: the query function is trained and asked at 32 x 32, CelebA64 included; weights have the same names."""
    config = SemanticNetConfig(name=name, width=4, side=16)  # type: ignore[arg-type]
    network, plain = (replace(config, side=side).build(3, 5).eval() for side in (16, 32))
    plain.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 16, 24).repeat_interleave(2, 2).repeat_interleave(2, 3)
    small = torch.nn.functional.adaptive_avg_pool2d(images, (16, 16))
    assert torch.equal(network(images), plain(small)) and not torch.equal(plain(images), plain(small))
    assert torch.equal(network.features(images), plain.features(small)), "also without the head"
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again(images), network(images))
    with pytest.raises(ValueError, match=r"query\.network\.side is 4"):
        replace(config, side=4)


def test_a_step_takes_no_more_images_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As is said of its memory and time before the run; an epoch is one pass."""
    seen = list[int]()
    as_float = semantic.as_float

    def noted(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return as_float(pixels)

    monkeypatch.setattr(semantic, "as_float", noted)
    torch.manual_seed(0)
    config = replace(SMALL, epochs=2, batch_size=100)
    semantic.fit(Alone(), config.network.build(1, 3), stripes(10), stripes(6, 1), config, 0)
    assert seen[::2] == [10, 10]  # the others are validation images


def test_ranks_of_few_images_have_two_each() -> None:
    """One alone has no batch statistics."""
    torch.set_num_threads(1)

    def rank(worker: Worker) -> int:
        torch.manual_seed(0)
        network = SMALL.network.build(1, 3)
        return len(semantic.fit(worker, network, stripes(3), stripes(6, 1), replace(SMALL, epochs=1), 0)["history"])

    answers, _ = on_ranks(rank, 3)
    assert answers == [1, 1, 1]
