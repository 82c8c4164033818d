"""Private evolution: see the card, README.md."""
