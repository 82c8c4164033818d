"""What a training ends with that has come to no numbers."""

from __future__ import annotations

from raysyn.compute.told import Told


class Diverged(Told):
    """Its sentence names the learning rate to lower."""
