"""Noisy expectation-maximisation as it is asked, by an attacker who knows all other images: see `query_games.py`."""

from __future__ import annotations

import numpy as np

from raysyn.attacks.canaries import Floats
from raysyn.audits.played import Game
from raysyn.audits.who import Who
from raysyn.data.projection import Layout, Projection
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.mechanisms import Mixed
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import mixture

APART = mixture.Mixture(np.full(2, 0.5), np.array([[0.9, 0.0], [-0.9, 0.0]]), np.full((2, 2), 0.05))
"""Components of which a white image is all of one, and a black one all of the other, but for 1e-15."""


def mixture_game(asked: Mixed, price: Cost, who: Who) -> Game:
    """Steps of EM, each with the same mixture, so that what the canary adds is known."""

    def sums(there: bool) -> Floats:
        private, of = who.present(there), asked.projection
        latents_NL = of.latents(private.images_NHWC, private.labels_N) / of.largest
        return np.asarray(sum(mixture.statistics(latents_NL, units.weights(private), asked.mixture)))

    def answer(there: bool, stream: Stream) -> Floats:
        private, exact = who.present(there), sums(there)
        noisy = mixture.noisy_statistics(private, price, stream, exact.shape[:2], lambda step, answered: [exact]).value
        return noisy.reshape(price.steps, -1) / mixture.sensitivity()

    return answer, lambda there: sums(there).ravel() / mixture.sensitivity()


def of_brightness(classes: int) -> Mixed:
    """EM of two numbers, of which the first is 1 in a white image of an even class and -1 in one of an odd class, and
    in a black one: persons of several classes add less than one may."""
    layout, size = Layout(frequencies=2, classes=classes, label_weight=1.0), 2 + classes
    directions_DL = np.eye(size, 2)
    directions_DL[3::2, 0] = -4.0
    return Mixed(Projection(layout=layout, centre_D=np.zeros(size), directions_DL=directions_DL, largest=1.0), APART)
