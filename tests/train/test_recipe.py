"""The recipe of teacher, students and shadow models."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysyn.compute.local import Local, LocalWorker
from raysyn.compute.searches import Outcome, Search
from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.runs.storage import Store
from raysyn.train import recipe
from raysyn.train.classifier import accuracy, as_float
from raysyn.train.recipe import Examples, Judge, RecipeConfig, fit, one_hot, predict

NET = ResNetConfig(blocks=1, width=4)
QUICK = RecipeConfig(epochs=6, batch_size=16, learning_rate=0.1)


def squares(count: int, seed: int) -> Images:
    """Two classes: a bright left or a bright right half, in noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = random.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
    for label in (0, 1):
        pixels[labels == label, :, 4 * label : 4 * label + 4] += 100
    return Images(pixels, labels, ("left", "right"))


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return resnet(NET, 1, 2)


def feed_of(*sets: Images):
    ready = [one_hot(images.images_NHWC, images.labels_N, images.classes) for images in sets]
    return lambda epoch, m: ready[m]


def worker(folder: Path) -> LocalWorker:
    return LocalWorker("recipe", Store(folder))


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    model = network(0)
    config = replace(QUICK, epochs=15, trivial_augment=False)
    (weights,) = fit(worker(tmp_path), [model], feed_of(squares(96, 0)), 96, config, [0])
    model.load_state_dict(weights)
    test = squares(200, 9)
    assert accuracy(model.eval(), test) > 0.95
    assert predict(model, test.images_NHWC).argmax(1).eq(torch.tensor(test.labels_N)).float().mean() > 0.95


@pytest.mark.parametrize("of", ["cpu", "cuda"])
def test_stacked_networks_become_what_each_becomes_alone(
    tmp_path: Path, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the batch norms of stacks on a CPU, and with those on a GPU."""
    stackable = recipe._stackable
    monkeypatch.setattr(recipe, "_stackable", lambda norm, device: stackable(norm, torch.device(of)))
    sets = [squares(40, 1), squares(33, 2), squares(37, 3)]
    alone = [
        fit(worker(tmp_path / str(m)), [network(m)], feed_of(one), 40, QUICK, [m])[0] for m, one in enumerate(sets)
    ]
    together = fit(worker(tmp_path), [network(m) for m in range(3)], feed_of(*sets), 40, QUICK, [0, 1, 2])
    for one, same in zip(alone, together, strict=True):
        for name, value in one.items():
            assert torch.allclose(value.float(), same[name].float(), atol=1e-3, rtol=1e-3), name
    assert not torch.allclose(alone[0]["head.weight"], alone[1]["head.weight"], atol=1e-2)


@pytest.mark.parametrize("stack", [1, 2])
def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path, stack: int) -> None:
    sets = [squares(40, 1), squares(40, 2)][:stack]

    def train(folder: Path, stop_at: int | None = None) -> list[dict[str, torch.Tensor]]:
        ready = feed_of(*sets)

        def feed(epoch: int, m: int) -> Examples:
            if epoch == stop_at:
                raise InterruptedError
            return ready(epoch, m)

        networks, seeds = [network(m) for m in range(stack)], list(range(stack))
        return Local(folder).train(fit, networks, feed, 40, QUICK, seeds, name="recipe")

    whole = train(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(tmp_path / "broken", stop_at=4)
    for one, same in zip(whole, train(tmp_path / "broken"), strict=True):
        assert all(torch.equal(value, same[name]) for name, value in one.items())


def test_sets_are_asked_for_once_per_epoch_and_judged_after_it(tmp_path: Path) -> None:
    asked, judged, told = [], [], []
    ready = feed_of(squares(40, 1))

    def feed(epoch: int, m: int) -> Examples:
        asked.append((epoch, m))
        return ready(epoch, m)

    def judge(model: torch.nn.Module) -> float:
        assert not model.training
        judged.append(model)
        return 0.25

    local = LocalWorker("recipe", Store(tmp_path), lambda *all_: told.append(all_))
    fit(local, [network(0)], feed, 40, replace(QUICK, epochs=3), [0], Judge(judge))
    assert asked == [(0, 0), (1, 0), (2, 0)] and len(judged) == 3
    assert told[-1][1:3] == (3, 3) and told[-1][3]["accuracy"] == 0.25


def test_what_was_judged_before_a_restart_is_known_after_it(tmp_path: Path) -> None:
    """Every epoch's value, in order, as if the training had never been killed."""
    images, ready = squares(40, 1), feed_of(squares(40, 1))

    def values(folder: Path, stop_at: int | None = None) -> list[float]:
        def feed(epoch: int, m: int) -> Examples:
            if epoch == stop_at:
                raise InterruptedError
            return ready(epoch, m)

        judge = Judge(lambda model: float(predict(model, images.images_NHWC).double().sum()))
        Local(folder).train(fit, [network(0)], feed, 40, QUICK, [0], judge, name="recipe")
        return judge.values

    whole = values(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        values(tmp_path / "broken", stop_at=4)
    assert values(tmp_path / "broken") == whole and len(whole) == len(set(whole)) == QUICK.epochs


def test_soft_labels_teach_uncertainty(tmp_path: Path) -> None:
    images = squares(64, 0)
    targets = torch.tensor([[0.7, 0.3], [0.3, 0.7]])[torch.tensor(images.labels_N)]
    examples = Examples(torch.tensor(images.images_NHWC), targets)
    model = network(0)
    config = replace(QUICK, epochs=20, trivial_augment=False, mixup=0.0)
    (weights,) = fit(worker(tmp_path), [model], lambda epoch, m: examples, 64, config, [0])
    model.load_state_dict(weights)
    surest = predict(model, squares(100, 5).images_NHWC).softmax(1).amax(1).mean()
    assert 0.6 < surest < 0.8


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    config = RecipeConfig(epochs=100)
    assert config.rate(0) == 0 and config.rate(5) == 0.5 and config.rate(100) == pytest.approx(0)
    assert config.rate(2.5) == 0.25 and config.rate(52.5) == pytest.approx(0.25)
    # A short training spends at most a fifth of itself on the warm-up.
    assert RecipeConfig(epochs=5).rate(1) == 0.5


def test_an_only_step_is_taken(tmp_path: Path) -> None:
    model = network(0)
    before = copy.deepcopy(list(model.parameters()))
    fit(worker(tmp_path), [model], feed_of(squares(16, 0)), 16, replace(QUICK, epochs=1, weight_decay=0), [0])
    assert any((now - then).abs().max() > 1e-3 for now, then in zip(model.parameters(), before, strict=True))


def test_infinite_weights_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"lower recipe\.learning_rate"):
        fit(worker(tmp_path), [network(0)], feed_of(squares(40, 1)), 40, replace(QUICK, learning_rate=1e9), [0])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"momentum": 1.0}])
def test_a_wrong_field_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RecipeConfig(**wrong)  # type: ignore[arg-type]


def test_pixels_span_minus_one_to_one() -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    assert as_float(pixels).flatten().tolist() == [-1.0, 1.0]


def test_stacked_networks_bear_the_reduced_precision_of_a_gpu() -> None:
    """Mapped over networks, batch normalisation wants inputs as precise as its statistics."""
    torch.manual_seed(0)
    networks = [resnet(ResNetConfig(width=4), 1, 3) for _ in range(2)]
    images = torch.randn(2, 6, 1, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        alone = torch.stack([network(x) for network, x in zip(copy.deepcopy(networks), images, strict=True)])
        stacked = recipe._Stack(networks, torch.device("cpu"))(images)
    torch.testing.assert_close(stacked.float(), alone.float(), rtol=0.1, atol=0.1)


def test_a_search_that_was_killed_has_the_scores_of_one_that_was_not(tmp_path: Path) -> None:
    """What trials report is in the state that they go on from: none comes back one report short, as if pruned."""
    images, tried = squares(24, 0), list[int]()

    def trial(worker: Worker, params: dict[str, int], stop_at: int | None) -> None:
        if params["x"] == stop_at:
            raise KeyboardInterrupt
        tried.append(params["x"])
        judge = Judge(lambda model: accuracy(model.eval(), images))
        fit(worker, [network(params["x"])], feed_of(images), 24, replace(QUICK, epochs=4), [0], judge)

    def outcomes(folder: Path, stop_at: int | None = None) -> list[Outcome]:
        asked = Search(metric="accuracy", reports=4)
        return Local(folder).search(trial, {"x": [1, 2, 3]}, asked, name="search", shared=stop_at)

    whole = outcomes(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        outcomes(tmp_path / "broken", stop_at=3)
    assert tried == [1, 2, 3, 1, 2]
    assert outcomes(tmp_path / "broken") == whole and not any(one.pruned for one in whole)
