"""A classifier that the user wrote, named on the command line."""

from __future__ import annotations

import hashlib
import importlib
import inspect
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
        try:
            network = make(channels, classes)
        except Exception as error:  # somebody else's code
            raise ValueError(f"model {self.function}({channels}, {classes}) failed: {error!r}") from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"model {self.function} returned a {type(network).__name__}: return a torch.nn.Module")
        return network

    def source(self) -> str:
        """SHA-256 (hex) of the file that defines the function: another network under its name is another network."""
        return hashlib.sha256(
            inspect.getsource(importlib.import_module(self.function.partition(":")[0])).encode()
        ).hexdigest()
