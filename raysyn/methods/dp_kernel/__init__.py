"""DP-Kernel: see the card, README.md."""
