"""Experiments that could refute what raysyn claims: its own mechanisms, attacked by one who knows all but a coin."""
