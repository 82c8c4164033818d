"""Attacks on released models and images: the run's own, before anyone else's."""
