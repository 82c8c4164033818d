"""Is the cluster there? Asked before images are read, which may take long, and not only where it is joined."""

from __future__ import annotations

from raysyn.on_ray.cluster import connected, starts_one


def look_for(address: str) -> None:
    """ValueError, in one sentence, where `address` names a cluster that is not there or does not let this process in;
    what is no such address is refused where it is joined. Nothing is joined, and nothing stays changed."""
    if address == "here" or address.startswith("ray://") or starts_one(address) or connected():
        return
    from raysyn.on_ray import joining

    with joining.found(address):
        pass
