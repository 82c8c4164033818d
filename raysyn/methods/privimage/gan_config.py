"""PRIVIMAGE+G: what a run is told of its GAN."""

from __future__ import annotations

from dataclasses import dataclass, field

from raysyn.models.biggan import BigGANConfig
from raysyn.models.private_discriminator import PrivateDiscriminatorConfig
from raysyn.train.gan import GANConfig
from raysyn.train.private_gan import PlayConfig

MOST_PARTS = 20
"""A GAN's state is kept this often at most."""


@dataclass(frozen=True, kw_only=True)
class GANPretrainConfig:
    """Pre-training of PRIVIMAGE+G (table 6), with the hinge loss."""

    iterations: int = 100_000
    """Steps of the discriminator; the paper counts those of the generator, a fifth of them: 20K."""
    batch_size: int = 64
    """Real images per discriminator step, over all workers."""
    discriminator_steps: int = 5
    """Discriminator steps per generator step."""
    learning_rate: float = 2e-4
    """Adam's rate for the generator, and for the discriminator unless it has its own."""
    discriminator_learning_rate: float | None = None
    """Adam's rate for the discriminator."""
    beta1: float = 0.5
    """Adam's first decay, for both."""
    ema: float = 0.999
    """Decay of the moving average of the generator's weights, which is what is kept of each checkpoint."""

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"gan.pretrain.iterations is {self.iterations}: give at least 1")
        if self.iterations < self.discriminator_steps:
            raise ValueError(
                f"gan.pretrain.iterations is {self.iterations}, but gan.pretrain.discriminator_steps "
                f"{self.discriminator_steps}: the generator would make no step"
            )
        try:
            self.recipe()
        except ValueError as error:
            raise ValueError(str(error).replace("gan.", "gan.pretrain.")) from error

    def recipe(self) -> GANConfig:
        """All steps, in parts after each of which the state is kept."""
        epochs = next(parts for parts in range(min(MOST_PARTS, self.iterations), 0, -1) if self.iterations % parts == 0)
        return GANConfig(
            epochs=epochs, epoch_steps=self.iterations // epochs, checkpoint_every=1, batch_size=self.batch_size,
            discriminator_steps=self.discriminator_steps, learning_rate=self.learning_rate,
            discriminator_learning_rate=self.discriminator_learning_rate, ema=self.ema, beta1=self.beta1,
            weight_decay=0.0, label_smoothing=0.0, hinge=True,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GANModelConfig:
    """PRIVIMAGE+G; `finetune` is DP-SGD of its discriminator (table 6; the rest: published DP-GANs)."""

    network: BigGANConfig = field(default_factory=BigGANConfig)
    discriminator: PrivateDiscriminatorConfig = field(default_factory=PrivateDiscriminatorConfig)
    pretrain: GANPretrainConfig = field(default_factory=GANPretrainConfig)
    learning_rate: float = 2e-4
    """Adam's rate for the generator in fine-tuning."""
    discriminator_steps: int = 5
    """Steps of the discriminator per step of the generator in fine-tuning."""
    beta1: float = 0.5
    """Adam's first decay for the generator in fine-tuning; that of the discriminator is finetune.beta1."""
    ema: float = 0.999
    """Decay of the moving average of the generator's weights in fine-tuning, which is what is drawn from."""

    def __post_init__(self) -> None:
        decays = 0 <= self.ema < 1 and 0 <= self.beta1 < 1
        if not self.learning_rate > 0 or self.discriminator_steps < 1 or not decays:
            raise ValueError(
                f"gan.learning_rate is {self.learning_rate}, gan.discriminator_steps {self.discriminator_steps}, "
                f"gan.ema {self.ema} and gan.beta1 {self.beta1}: give a rate above 0, at least 1 step and decays from "
                "0 up to below 1"
            )

    def play(self, batch_size: int) -> PlayConfig:
        """How the generator learns beside DP-SGD."""
        return PlayConfig(
            batch_size=batch_size, learning_rate=self.learning_rate, beta1=self.beta1, hinge=True,
            discriminator_steps=self.discriminator_steps, ema=self.ema,
        )  # fmt: skip
