"""DP-MEPF: see the card, README.md."""
