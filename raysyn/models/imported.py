"""A classifier that the user wrote, named on the command line."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Imported:
    """An architecture that raysyn does not know: built by a function that every worker can import."""

    function: str
    """`module:function`; function(channels, classes) returns the untrained network."""

    def build(self, channels: int, classes: int) -> nn.Module:
        """The network for float images (N, channels, H, W) in [-1, 1]; ValueError where there is no such function."""
        module, _, name = self.function.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"model is {self.function}, which cannot be imported ({error}): give module:function, found from the "
                "folder that the command starts in or installed on every node"
            ) from error
        network = make(channels, classes)
        if not isinstance(network, nn.Module):
            raise ValueError(f"model {self.function} returned a {type(network).__name__}: return a torch.nn.Module")
        return network
