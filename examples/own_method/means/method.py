"""Noisy class means, blended at random. Reads downwards: settings, what they cost, the run, one unit of its work."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.methods.basics import Basics
from raysyn.methods.common import PrivateSetting
from raysyn.methods.ends import finish, look
from raysyn.methods.method import Method, Prepared
from raysyn.methods.synthesis import Drawing, pack, synthesise, unpack
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.central import CentralConfig, central_images


@dataclass(frozen=True, kw_only=True)
class Config(Basics):
    """All that changes the images: --data, --budget, --synthetic, --eval, --seed and so on from Basics, and this."""

    means: int = 4
    """Noisy means to ask for of each class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.means < 1:
            raise ValueError(f"means is {self.means}: give at least 1")


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, and the price of the only touch of the private images."""
    dataset = look("means", config)
    query = CentralConfig(count=config.means * dataset.train.classes, sampling_rate=1.0)
    asked = query.cost(dataset.train.classes)
    assert asked is not None
    plan = units.planned(dataset.train, lambda n: Plan.within(config.budget, n, "means", asked))
    return Prepared(dataset=dataset, plan=plan, more=replace(query, noise_multiplier=plan.noise("means")))


def run(setting: PrivateSetting) -> object:
    """Ask, pay, and make everything else of the answer."""
    private, stream = setting.dataset.train, Stream(setting.folder.secret, "means")
    answer = partial(central_images, private, setting.more, stream)
    paid = setting.folder.stage("means", lambda: pack(setting.ledger.pay("means", answer())))
    # From here on all is made of `means`, which are paid for; of `private` only the names of its classes are read.
    means = unpack(paid, private)
    setting.console.stage("means", f"{len(means)} noisy class means, ε {setting.ledger.epsilon():.3g} spent in all")
    synthetic = synthesise(setting, Drawing(blend, means, "blends of noisy means"))
    return finish(setting, "means", synthetic, central=means, done=[f"Blended {len(means)} noisy class means."])


def blend(chunk: tuple[int, np.ndarray], means: Images) -> torch.Tensor:
    """One unit of work, on any machine: (seed, labels (N,)) to images, uint8 (N, H, W, C)."""
    seed, labels_N = chunk
    means_RNHWC = means.images_NHWC.reshape(-1, means.classes, *means.shape)[:, labels_N]
    weights_NR = np.random.default_rng(seed).dirichlet(np.ones(len(means_RNHWC)), len(labels_N))
    return torch.from_numpy(np.einsum("nr,rnhwc->nhwc", weights_NR, means_RNHWC).round().astype(np.uint8))


PRESETS = {
    "quick": Config(synthetic=1000, eval=EvalConfig(classifiers=("cnn", "logreg"), epochs=20), tuned_on="digits")
}
METHOD = Method(name="means", prepare=prepare, run=run)
