"""DP-MERF: see the card, README.md."""
