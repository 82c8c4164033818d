"""Noisy prototypes that label public images: see the card, README.md."""
