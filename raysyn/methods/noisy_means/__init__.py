"""Noisy means: see the card, README.md."""
