"""Tangent features of generated images (DP-NTK): how far their means are from those wanted, by products of the pairs of
vectors that they are made of."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from raysyn.data.tangent import EPS, Tangent
from raysyn.train.embedding import Unwritten


class Tangents(Unwritten):
    """(images (N, C, H, W) in [0, 1]) to features (N, F) of norm 1, as those of `data.tangent.Tangent` are."""

    def __init__(self, of: Tangent) -> None:
        super().__init__()
        held = {"first_PM": of.first_PM * 255, "bias_M": of.bias_M, "last": of.last}
        if of.second_MO is not None and of.bias_O is not None:
            held |= {"second_MO": of.second_MO, "bias_O": of.bias_O}
        for name, value in held.items():
            self.register_buffer(name, torch.from_numpy(np.array(value, np.float32)))
        self.two, self.outputs = of.second_MO is not None, of.outputs
        self.squared: tuple[Tensor, list[Tensor]] | None = None

    def pairs(self, images_NCHW: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients at what leaves each layer, (N, out), divided by the norm of all features, and what enters it with a
        1 for the bias, (N, in + 1)."""
        pixels_NP, last = images_NCHW.permute(0, 2, 3, 1).flatten(1), self.get_buffer("last")
        hidden_NM = torch.addmm(self.get_buffer("bias_M"), pixels_NP, self.get_buffer("first_PM"))
        active_NM = hidden_NM.relu()
        top = active_NM
        if self.two:
            top = torch.addmm(self.get_buffer("bias_O"), active_NM, self.get_buffer("second_MO"))
        spread_N1 = (top.var(1, correction=0, keepdim=True) + EPS).sqrt()
        normal = (top - top.mean(1, keepdim=True)) / spread_N1
        back = (last - last.mean() - normal * (normal * last).mean(1, keepdim=True)) / spread_N1
        lefts, rights = [back], [pixels_NP]
        if self.two:
            lefts, rights = [back @ self.get_buffer("second_MO").T, back], [pixels_NP, active_NM]
        lefts[0] = lefts[0] * (hidden_NM > 0)
        lefts.append(last.new_full((len(pixels_NP), 1), math.sqrt(self.outputs)))
        rights.append(normal)
        rights = [torch.cat([right, right.new_ones(len(right), 1)], 1) for right in rights]
        squares = [left.square().sum(1) * right.square().sum(1) for left, right in zip(lefts, rights, strict=True)]
        norm_N1 = torch.stack(squares).sum(0).sqrt()[:, None]
        return [left / norm_N1 for left in lefts], rights

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Written down, for few images."""
        pairs = zip(*self.pairs(images_NCHW), strict=True)
        return torch.cat([torch.einsum("no,ni->noi", left, right).flatten(1) for left, right in pairs], 1)

    def distance(self, images_NCHW: Tensor, labels_N: Tensor, wanted_KF: Tensor, unbiased: bool) -> Tensor:
        """Of a class of m images with the features f and the wanted w it is |mean f|^2 - 2 (mean f) w + |w|^2, where
        the first term is the mean of the m^2 products of two images. Without what chance adds, it is that of the pairs
        of two different ones: of an image with itself it is 1."""
        lefts, rights = self.pairs(images_NCHW)
        total = images_NCHW.new_zeros(())
        for label, wanted_F in enumerate(wanted_KF):
            (mine,) = torch.nonzero(labels_N == label, as_tuple=True)
            if not (count := len(mine)):
                continue
            of = [(left[mine], right[mine]) for left, right in zip(lefts, rights, strict=True)]
            squared = torch.stack([_of_pairs(left, right) for left, right in of]).sum()
            squared = (squared - count) / (count * (count - 1)) if unbiased and count > 1 else squared / count**2
            squared = squared - 2 * _along(of, wanted_F) / count + self._squares(wanted_KF)[label]
            total = total + squared * (count / len(labels_N))
        return total

    def _squares(self, wanted_KF: Tensor) -> list[Tensor]:
        """|w|^2 of each class, worked out once: what is wanted is alike in all steps."""
        if self.squared is None or self.squared[0] is not wanted_KF:
            self.squared = wanted_KF, [wanted_F.square().sum() for wanted_F in wanted_KF]
        return self.squared[1]


def _of_pairs(left_NO: Tensor, right_NI: Tensor) -> Tensor:
    """The sum of a layer's products of any two images: of these products, or the squared norm of the sum of its
    features, whichever are fewer numbers."""
    if len(left_NO) ** 2 > left_NO.shape[1] * right_NI.shape[1]:
        return (left_NO.T @ right_NI).square().sum()
    return ((left_NO @ left_NO.T) * (right_NI @ right_NI.T)).sum()


def _along(of: list[tuple[Tensor, Tensor]], wanted_F: Tensor) -> Tensor:
    """Sum of the features of some images along what is wanted."""
    found, at = [], 0
    for left, right in of:
        shape = (left.shape[1], right.shape[1])
        wanted_OI = wanted_F[at : at + math.prod(shape)].view(shape)
        at += math.prod(shape)
        found.append(((left @ wanted_OI) * right).sum())
    return torch.stack(found).sum()
