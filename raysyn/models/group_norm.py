"""Group normalisation, the kind that sees one image at a time and may stand on a DP path."""

from torch import nn

MOST_GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """With as many groups as divide the channels, at most 32 and of two channels at least: one alone would lose its
    mean."""
    most = max(1, min(MOST_GROUPS, channels // 2))
    groups = next(groups for groups in range(most, 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)
