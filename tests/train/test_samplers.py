"""Samplers against a Gaussian mixture whose perfect denoiser is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from raysyn.methods.method import rough
from raysyn.models.denoiser import OwnDenoiser
from raysyn.train import samplers
from raysyn.train.diffusion import no_class
from raysyn.train.samplers import SamplerConfig, doubt, generate, network_calls, noise_levels, sample

CENTRES, WEIGHTS, SPREAD = torch.tensor([-0.6, 0.8]).double(), torch.tensor([0.3, 0.7]).double(), 0.1


def perfect(x: Tensor, sigma: float) -> Tensor:
    """Posterior mean of a clean value given x = clean + sigma * noise."""
    variance = SPREAD**2 + sigma**2
    belongs = (WEIGHTS.log() - (x[..., None] - CENTRES) ** 2 / (2 * variance)).softmax(-1)
    return (belongs * (CENTRES * sigma**2 + SPREAD**2 * x[..., None]) / variance).sum(-1)


def _values(config: SamplerConfig, n: int = 5_000) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return sample(perfect, config, lambda: torch.randn(n, generator=generator, dtype=torch.double))


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return _values(SamplerConfig(name="edm", steps=1000))


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (SamplerConfig(name="edm", steps=300), 0.01),
        (SamplerConfig(name="edm", steps=300, churn=50, s_min=0.01), 0.01),
        (SamplerConfig(name="edm", steps=18), 0.03),
        (SamplerConfig(name="ddim", steps=1000), 0.01),
        (SamplerConfig(name="ddim", steps=50), 0.03),
        (SamplerConfig(name="dpmpp", steps=20), 0.03),
        (SamplerConfig(name="dpmpp", steps=40), 0.01),
        (SamplerConfig(name="dpmpp", steps=40, churn=1), 0.015),
        (SamplerConfig(name="unipc", steps=20), 0.05),
        (SamplerConfig(name="unipc", steps=40), 0.01),
    ],
    ids=lambda value: f"{value.name}-{value.steps}-{value.churn}" if isinstance(value, SamplerConfig) else "",
)
def test_every_sampler_reaches_the_distribution(config: SamplerConfig, tolerance: float) -> None:
    values = _values(config)
    upper = values > 0.1
    # Standard errors at n = 5,000: share 0.0065, means below 0.0026, spreads below 0.0019.
    assert upper.double().mean().item() == pytest.approx(0.7, abs=0.02)
    for side, centre in ((values[~upper], -0.6), (values[upper], 0.8)):
        assert side.mean().item() == pytest.approx(centre, abs=tolerance)
        assert side.std().item() == pytest.approx(SPREAD, abs=tolerance)


def test_dpmpp_with_20_calls_is_close_to_edm_with_1999(reference: Tensor) -> None:
    def distance(config: SamplerConfig) -> float:
        return float((_values(config) - reference).square().mean().sqrt())

    quick = distance(SamplerConfig(name="dpmpp", steps=20))
    assert quick < 0.05  # grey levels of about 6 of 255
    assert quick < distance(SamplerConfig(name="ddim", steps=20)) / 2
    assert distance(SamplerConfig(name="dpmpp", steps=40)) < quick / 2


def test_unipc_is_of_a_higher_order_than_dpmpp(reference: Tensor) -> None:
    """Twice the steps: of order 3 an eighth of the error, of order 2 a quarter, as far as these steps are short."""

    def gain(name: str, steps: int) -> float:
        few, many = (_values(SamplerConfig(name=name, steps=n), 1_000) for n in (steps, 2 * steps))  # type: ignore[arg-type]
        exact = _values(SamplerConfig(name="unipc", steps=1_000), 1_000)
        return float((few - exact).square().mean().sqrt() / (many - exact).square().mean().sqrt())

    assert gain("unipc", 80) > 8
    assert 2.5 < gain("dpmpp", 80) < 5
    exact = _values(SamplerConfig(name="unipc", steps=1_000))
    assert float((exact - reference).square().mean().sqrt()) < 0.01


def _published_unipc(steps: int, n: int) -> Tensor:
    """Multistep UniPC-3 with B(h) = expm1(-h), written from its algorithms one order after another, slowly."""
    generator = torch.Generator().manual_seed(0)
    sigmas = noise_levels(SamplerConfig(name="unipc", steps=steps))[:-1]
    lambdas = [-math.log(sigma) for sigma in sigmas]
    x, known = torch.randn(n, generator=generator, dtype=torch.double) * sigmas[0], list[Tensor]()
    known.append(perfect(x, sigmas[0]))
    for i in range(1, steps):
        order = min(3, i, steps - i)
        h = lambdas[i] - lambdas[i - 1]
        plain = sigmas[i] / sigmas[i - 1] * x - math.expm1(-h) * known[i - 1]
        places = [(lambdas[i - 1 - m] - lambdas[i - 1]) / h for m in range(1, order)]
        changes = [(known[i - 1 - m] - known[i - 1]) / r for m, r in enumerate(places, 1)]

        def added(places: list[float], changes: list[Tensor], h: float = h) -> Tensor | float:
            if not places:
                return 0.0
            b = []
            for k in range(1, len(places) + 1):
                # phi_(k+1)(-h) by its power series, times h k! over B(h)
                series = sum((-h) ** j / math.factorial(j + k + 1) for j in range(40))
                b.append(series * -h * math.factorial(k) / math.expm1(-h))
            rows = torch.tensor([[r**k for r in places] for k in range(len(places))], dtype=torch.double)
            solved = torch.linalg.solve(rows, torch.tensor(b, dtype=torch.double)).tolist()
            weights = [0.5] if len(places) == 1 else solved
            return -math.expm1(-h) * sum(w * change for w, change in zip(weights, changes, strict=True))

        x = plain + added(places, changes)
        known.append(perfect(x, sigmas[i]))
        x = plain + added([*places, 1.0], [*changes, known[i] - known[i - 1]])
    return known[-1]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 21])
def test_unipc_is_as_published(steps: int) -> None:
    values = _values(SamplerConfig(name="unipc", steps=steps), 200)
    torch.testing.assert_close(values, _published_unipc(steps, 200), rtol=1e-9, atol=1e-9)


def test_noise_levels_fall_from_sigma_max_to_sigma_min_and_then_to_zero() -> None:
    levels = noise_levels(SamplerConfig(steps=18))
    assert len(levels) == 19 and levels[0] == pytest.approx(80) and levels[-2] == pytest.approx(0.002)
    assert levels[-1] == 0 and levels == sorted(levels, reverse=True)
    assert noise_levels(SamplerConfig(steps=1)) == pytest.approx([80, 0])


class Counting(nn.Module):
    """Pulls images of class c towards a grey level of its own; counts images seen, per label."""

    classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = torch.zeros(4, dtype=torch.long)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor) -> Tensor:
        self.seen += torch.bincount(labels, minlength=4)
        return (labels[:, None, None, None].float() - 1).expand_as(x)


@pytest.mark.parametrize("name", ["ddim", "edm", "dpmpp", "unipc"])
@pytest.mark.parametrize("guidance", [0.0, 0.5])
def test_trap_28_guidance_asks_the_no_class_row_and_calls_are_counted(name: str, guidance: float) -> None:
    """Trap 28: the row that sampling looks up for "no class" is the one that training drops labels to."""
    config, model = SamplerConfig(name=name, steps=7, guidance=guidance), Counting()  # type: ignore[arg-type]
    generate(model, config, torch.tensor([0, 2]), (8, 8, 1), 0, torch.device("cpu"))
    assert model.seen.sum().item() == 2 * network_calls(config)
    assert model.seen[no_class(3)].item() == (network_calls(config) if guidance else 0)
    assert model.seen[1].item() == 0


def test_default_needs_at_most_40_calls_even_with_guidance() -> None:
    assert network_calls(SamplerConfig(guidance=1.0)) <= 40
    assert network_calls(SamplerConfig(name="edm", steps=1000)) == 1999


def test_images_come_from_the_seed_and_follow_their_labels() -> None:
    labels, config = torch.tensor([0, 1, 2] * 50), SamplerConfig(steps=5, churn=0.5)
    images = generate(Counting(), config, labels, (8, 10, 3), 4, torch.device("cpu"))
    assert images.shape == (150, 8, 10, 3) and images.dtype == torch.uint8
    means = [images[labels == c].float().mean().item() for c in range(3)]
    assert means == sorted(means) and means[2] - means[0] > 20
    assert torch.equal(images, generate(Counting(), config, labels, (8, 10, 3), 4, torch.device("cpu")))
    assert not torch.equal(images, generate(Counting(), config, labels, (8, 10, 3), 5, torch.device("cpu")))
    assert len(generate(Counting(), config, labels[:0], (8, 8, 1), 4, torch.device("cpu"))) == 0


def test_a_network_that_was_drawn_from_can_be_trained_on() -> None:
    model = Counting()
    model.weight = torch.nn.Parameter(torch.ones(2, 3, 4, 4))
    for _ in range(2):
        generate(model, SamplerConfig(steps=1), torch.tensor([0]), (8, 8, 3), 4, torch.device("cpu"))
        (model.weight * model.weight).sum().backward()
    assert model.weight.grad is not None


def test_guidance_pushes_away_from_the_unconditional_answer() -> None:
    labels = torch.zeros(20, dtype=torch.long)

    def mean(guidance: float) -> float:
        config = SamplerConfig(steps=5, guidance=guidance)
        return generate(Counting(), config, labels, (8, 8, 1), 0, torch.device("cpu")).float().mean().item()

    assert mean(0.2) < mean(0.0)  # "no class" is the brightest answer of all


@pytest.mark.parametrize(
    ("change", "word"),
    [({"name": "magic"}, "name"), ({"steps": 0}, "steps"), ({"sigma_min": 90.0}, "sigma_min")],
)
def test_bad_settings_name_the_field(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        SamplerConfig(**change)  # type: ignore[arg-type]


def test_few_steps_of_edm_are_doubted() -> None:
    told = {steps: doubt(SamplerConfig(name="edm", steps=steps)) for steps in (1, 2, 3, 4, 5, 50)}
    assert [steps for steps, sentence in told.items() if sentence] == [2, 3, 4]
    assert told[3] == (
        "sampler.steps is 3, of which edm overshoots and draws rubbish: give at least 5, or --sampler.name dpmpp"
    )
    assert str(doubt(SamplerConfig(name="edm", steps=3), "sampler_fid")).endswith("--sampler-fid.name dpmpp")
    assert not any(doubt(SamplerConfig(name=name, steps=2)) for name in ("ddim", "dpmpp", "unipc"))


def test_churn_formula_of_edm() -> None:
    """Full churn raises the noise level of each step by sqrt(2), with fresh noise of the missing variance."""
    asked: list[float] = []

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return torch.zeros_like(x)

    config = SamplerConfig(name="edm", steps=2, churn=100, s_max=100)
    sample(denoiser, config, lambda: torch.ones(1))
    assert asked == pytest.approx([80 * math.sqrt(2), 0.002, 0.002 * math.sqrt(2)])


def test_a_gpu_compiles_networks_of_ours_where_it_pays() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    ours, yours = Counting(), nn.Sequential(OwnDenoiser.__new__(OwnDenoiser))
    published = [SamplerConfig(name="edm", steps=1000), SamplerConfig(name="ddim", steps=250)]
    assert all(samplers.compiling_pays(ours, gpu, 500 * network_calls(config)) for config in published)
    assert not samplers.compiling_pays(ours, gpu, 500 * network_calls(SamplerConfig()))
    assert not samplers.compiling_pays(ours, cpu, 10**9) and not samplers.compiling_pays(yours, gpu, 10**9)


@pytest.mark.parametrize("works", [True, False])
def test_a_compiled_network_draws_the_same_and_one_that_cannot_be_compiled_as_it_is(
    works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, config, calls = torch.tensor([0, 1, 2]), SamplerConfig(steps=5), list[int]()

    def compile_(model: nn.Module, dynamic: bool) -> Callable[..., Tensor]:
        def ask(*inputs: Tensor) -> Tensor:
            calls.append(len(inputs[0]))
            if not works:
                raise RuntimeError("no C compiler\nanywhere")
            answer: Tensor = model(*inputs)
            return answer

        return ask

    want = generate(Counting(), config, labels, (8, 8, 1), 4, torch.device("cpu"))
    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(samplers, "compiling_pays", lambda *_: True)
    with nullcontext() if works else pytest.warns(UserWarning, match="draws uncompiled: no C compiler$"):
        got = generate(Counting(), config, labels, (8, 8, 1), 4, torch.device("cpu"))
    assert torch.equal(got, want) and calls == [3] * (5 if works else 1)


def test_a_field_of_that_name_in_somebody_elses_method_is_no_sampler() -> None:
    """What it means there is not known here."""
    for other in ("ddim", 3, {"steps": 2}, None):
        assert rough(SimpleNamespace(sampler=other)) == []
    assert len(rough(SimpleNamespace(sampler=SamplerConfig(name="edm", steps=3)))) == 1
