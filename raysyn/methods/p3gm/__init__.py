"""P3GM: see the card, README.md."""
