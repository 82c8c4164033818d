"""LiRA: which classifier is attacked, and how."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from raysyn.attacks.shadows import AttackConfig
from raysyn.attacks.teaching import Architecture, Recipe
from raysyn.data.images import DataConfig, Images
from raysyn.models.imported import Imported
from raysyn.models.normalised import Normalised
from raysyn.models.plain import Plain
from raysyn.models.resnet import ResNetConfig
from raysyn.train.fast import FastConfig, FastRecipe
from raysyn.train.own_recipe import OwnRecipe
from raysyn.train.recipe import RecipeConfig

NAME = "lira"


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The attacked classifier."""

    checkpoint: str | None = None
    """Its weights: a state dict in a file of torch.save, alone or under a key such as `model_state_dict` (a released
    student.pt is one), or in safetensors; what DataParallel, Opacus or torch.compile put before names is taken off.
    Without it a classifier is trained here, to learn how much one like it would leak."""
    model: str | None = None
    """`module:function` that builds its network, untrained, called with (channels, classes): float images (N, C, H, W)
    in [-1, 1], or as --target.mean and --target.std say, to logits. `mynets:build` is found as mynets.py in the folder
    that the command starts in, or as an installed module. By default the ResNet of --classifier."""
    mean: tuple[float, ...] | None = None
    """Normalisation of its images, of pixel values in [0, 1]: (x - mean) / std, one value per channel or one for all.
    It is put before the classifier and before its shadow models. By default 0.5 and 0.5, which is [-1, 1]."""
    std: tuple[float, ...] | None = None
    """See --target.mean."""

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            there, missing = ("mean", "std") if self.std is None else ("std", "mean")
            raise ValueError(f"target.{there} is given without target.{missing}: give both, or neither")
        for name, values in (("mean", self.mean or ()), ("std", self.std or ())):
            if not all(0 <= value <= 1 for value in values) or (name == "std" and 0 in values):
                raise ValueError(
                    f"target.{name} is {' '.join(f'{value:g}' for value in values)}, but is that of pixel values in "
                    f"[0, 1]: give {'above' if name == 'std' else 'from'} 0 to 1, dividing by 255 what is of [0, 255]"
                )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that changes the result. Shadow models learn as the recipe says: make it the target's."""

    data: DataConfig = field(default_factory=DataConfig)
    """Training images: those that the classifier was trained on. Test images: the non-members."""
    target: TargetConfig = field(default_factory=TargetConfig)
    classifier: ResNetConfig = field(default_factory=ResNetConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    recipe_kind: Literal["paper", "fast"] = field(default="paper", metadata={"flag": "recipe"})
    """How shadow models learn, and a target that is trained here. `paper` is Knowledge Recycling's, by the settings of
    --recipe.*; `fast` another network and training altogether, Jordan's of 2024 (94 % on CIFAR-10 in 3.29 seconds), by
    those of --fast.* with --recipe.flip and --recipe.shift."""
    recipe_function: str | None = field(default=None, metadata={"flag": "recipe.function"})
    """`module:function` of yours that trains a classifier, in place of --recipe: called with (images, labels, classes,
    seed, device), it returns a torch.nn.Module, or a function, from such images to logits. Images are float32 tensors
    (N, C, H, W) in [-1, 1], or as --target.mean and --target.std say, labels int64. Of --recipe.* it takes flip and
    shift, which say what views of an image are asked about."""
    fast: FastConfig = field(default_factory=FastConfig)
    attack: AttackConfig = field(default_factory=lambda: AttackConfig(shadow_models=64, design="half"))
    seed: int = 0
    """Seed of shadow models and designs."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")
        if not self.attack.shadow_models:
            raise ValueError("attack.shadow_models is 0: give at least 2")
        self._check_recipe()

    def _check_recipe(self) -> None:
        function, model = self.recipe_function, self.target.model
        if self.recipe_kind == "fast":
            given = {"recipe.function": function, "target.model": model, "target.mean": self.target.mean}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(
                        f"{name} is given with recipe fast, which has its own network, training and normalisation: "
                        "leave one of them out"
                    )
        if function is not None and model is not None and not self.is_users():
            raise ValueError(
                f"recipe.function is {function}, which makes the network that it trains, and target.model is {model}, "
                "which is that of a target.checkpoint: leave one of them out, or give the checkpoint"
            )

    def unread(self) -> dict[str, str]:
        """{setting: why nothing reads it}: a command that gives one of them is refused."""
        if isinstance(self.taught(), RecipeConfig):
            return {f"fast.{one.name}": "belongs to --recipe fast" for one in fields(self.fast)}
        groups: dict[str, Any] = {"recipe": self.recipe}
        if self.recipe_function is None or not self.is_users():
            groups["classifier"] = self.classifier
        if self.recipe_function is not None:
            groups["fast"] = self.fast
        names = {f"{group}.{one.name}" for group, of in groups.items() for one in fields(of)}
        other = "--recipe fast" if self.recipe_function is None else "--recipe.function"
        return dict.fromkeys(names - {"recipe.flip", "recipe.shift"}, f"is not read with {other}")

    def taught(self) -> Recipe:
        """How classifiers learn."""
        flip, shift = self.recipe.flip, self.recipe.shift
        if self.recipe_function is not None:
            mean, std = self.target.mean or (0.5,), self.target.std or (0.5,)
            return OwnRecipe.named(self.recipe_function, mean=mean, std=std, flip=flip, shift=shift)
        return self.recipe if self.recipe_kind == "paper" else FastRecipe(config=self.fast, flip=flip, shift=shift)

    def has_network(self) -> bool:
        """Whether there is one to build: a function that trains makes its own, of target and shadow models."""
        return self.recipe_function is None or self.is_users()

    def stacks(self) -> bool:
        """Whether shadow models may be trained together: torch.func refuses some layers of networks that nobody has
        seen, and other recipes train one by one."""
        return isinstance(self.taught(), RecipeConfig) and self.target.model is None

    def imported(self) -> Imported | None:
        return Imported(self.target.model) if self.target.model else None

    def is_users(self) -> bool:
        """Whether the classifier was trained elsewhere; a network of the user's without weights is trained here."""
        return self.target.checkpoint is not None

    def architecture(self, images: Images | None = None) -> Architecture:
        """Of target and shadow models; for answers that are stored, told from another network by that for `images`."""
        recipe = self.taught()
        built_in = recipe.network() if isinstance(recipe, FastRecipe) else self.classifier
        network: Architecture = built_in
        if (imported := self.imported()) is not None:
            known = imported if images is None else imported.identified(images.shape[2], images.classes)
            network = Plain(known)
        if self.target.mean is None or self.target.std is None:
            return network
        # Shadow models too: they learn as the target did, from what it saw.
        return Normalised(network, self.target.mean, self.target.std)

    def called(self) -> str:
        """What errors and warnings call the target."""
        return f"target.model {self.target.model}" if self.target.model else "the classifier"
