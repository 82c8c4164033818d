"""Group normalisation, the kind that sees one image at a time and may stand on a DP path."""

from torch import nn

MOST_GROUPS = 32


def group_norm(channels: int, least: int = 2) -> nn.GroupNorm:
    """With as many groups as divide the channels, at most 32 and of `least` channels at least.

    A channel alone loses its mean, and where maps have shrunk to one pixel, a pair keeps nothing but which is larger.
    """
    most = max(1, min(MOST_GROUPS, channels // least))
    groups = next(groups for groups in range(most, 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)
