"""DP-NTK: see the card, README.md."""
