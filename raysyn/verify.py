"""`python -m raysyn.verify RELEASE`: the same as `raysyn verify RELEASE`. By the methods it reads network.json, too."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysyn.methods import catalogue
from raysyn.report import verify
from raysyn.runs.versions import version


def check_network(about: Mapping[str, Any], signed: Mapping[str, Any], tensors: Collection[str]) -> tuple[str, ...]:
    """The stages whose tensors are made of paid answers alone, so that no ledger has them; ValueError for a
    network.json, or names of tensors beside it, that no run of its method writes. One of another version, or of a
    method that is not installed here, may say what any may."""
    # Imported where it is used, not above: most releases have no network.
    from raysyn.methods import network
    from raysyn.screen.flags import restored

    try:
        entry = catalogue.find(about["method"])
        presets, known = entry.presets(), getattr(entry.method(), "network", None)
    except ValueError:  # also of a package whose presets are faulty by now
        return ()
    made: tuple[str, ...] = known.made if known is not None else ()
    if about["raysyn"] != version():
        return made
    if about["preset"] not in presets:
        raise ValueError(f"network.json says the preset {about['preset']}, which {entry.name} does not have")
    try:
        config = restored(presets[about["preset"]], about["settings"])
        network.check_read(known, about, config, entry.name)
        config.classes.of(tuple(signed["public_facts"]["classes"]))
        assert known is not None, "`check_read` refuses it"
        network.check_held(known, config, signed, tensors)
    except verify.DAMAGE as error:
        raise ValueError(f"network.json is of no run of {entry.name} ({error})") from error
    return made


def check(release: str) -> list[verify.Check]:
    """What `raysyn verify RELEASE` prints, a row for each thing that the certificate says: (name, holds, found).
    ValueError for what is no folder of a release."""
    return verify.verify(Path(release), fits=check_network)


def main(arguments: Sequence[str]) -> int:
    """Exit status, as of `raysyn.report.verify`."""
    return verify.main(arguments, check_network)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
