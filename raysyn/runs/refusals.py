"""Which folders are refused: those of another run, and those of something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from raysyn.runs.storage import local_folder, read_bytes
from raysyn.runs.versions import version

RUN_JSON = "internal/run.json"
"""What a run is: method, config, fingerprint of its images."""


def refuse_strangers(out: Path) -> None:
    """Only a run folder, an empty one or the bare beginnings of a run are ours to write in."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; choose a new folder.")
    if not out.exists() or (out / RUN_JSON).is_file():
        return
    refuse_strange_names(str(out), [path.relative_to(out).as_posix() for path in _walk(out)])


def refuse_strange_names(out: str, names: Sequence[str]) -> None:
    """ValueError where one of these names is no beginning of a run."""
    ours = {"release", "internal", "internal/lock", "internal/secret", "internal/lease.json"}
    for name in names:
        unfinished = name.startswith("internal/.") and name.endswith(".tmp")
        if name not in ours and not unfinished:
            raise ValueError(
                f"--out {out} is not empty and holds no run (it has {name}); choose a new or empty folder."
            )


def _walk(out: Path) -> Iterator[Path]:
    """Entries of `out` and of the two folders that a run makes first."""
    for path in sorted(out.iterdir()):
        yield path
        if path in (out / "release", out / "internal") and path.is_dir():
            yield from sorted(path.iterdir())


def identity(
    *, method: str, preset: str, config: dict[str, Any], data_fingerprint: str, source_fingerprint: str | None = None
) -> dict[str, Any]:
    """What is written in RUN_JSON of such a run, and compared with what is there."""
    told = {
        "raysyn": version(),
        "method": method,
        "preset": preset,
        "data_fingerprint": data_fingerprint,
        "config": json.loads(json.dumps(config, default=str)),
    }
    return told if source_fingerprint is None else told | {"source_fingerprint": source_fingerprint}


def refused(out: str, wanted: Callable[[], dict[str, Any]]) -> str | None:
    """The sentence with which a folder of this machine would be refused to a run of that `identity`, which is asked for
    where there is another one; nothing is locked or changed. None where it would be taken. One on an object store is
    not looked at: None too."""
    if (here := local_folder(out)) is None:
        return None
    try:
        refuse_strangers(here)
        if (there := here / RUN_JSON).is_file():
            refuse_another_run(out, json.loads(there.read_text()), wanted())
    except (ValueError, OSError) as error:
        return str(error)
    return None


def holds_another(out: str, wanted: Callable[[], dict[str, Any]]) -> bool:
    """Whether a folder, or a place on an object store, holds another run than that of this `identity`, which is asked
    for where there is a run. Not where there is none, or none that can be read, which is refused later."""
    try:
        there = json.loads(read_bytes(out, RUN_JSON))
    except (OSError, ValueError):
        return False
    try:
        refuse_another_run(out, there, wanted())
    except (ValueError, LookupError, TypeError, AttributeError):  # or a JSON that is no run's
        return True
    return False


STANDS_FOR = {"weights": ("target.checkpoint",)}
"""Settings that only say where something lies, by the fact that says what it is."""


METHOD_SOURCE = "method_source"
"""Hash of the code of somebody else's method, which says nothing to who reads it."""
PLAN = "plan."
"""What follows from what is asked."""
PLACES = "data."
"""Settings that say which images to read: which these are the fingerprint says, whatever the path is called."""


def refuse_another_run(out: str, there: dict[str, Any], here: dict[str, Any]) -> None:
    """ValueError naming the first difference. The preset is only a name for the config, so it may differ, and so may
    the spelling of a path to the same images or weights."""
    before = {"method": there["method"], "raysyn version": there["raysyn"], **dict(leaves(there["config"]))}
    now = {"method": here["method"], "raysyn version": here["raysyn"], **dict(leaves(here["config"]))}
    known = {place for fact, places in STANDS_FOR.items() if fact in before and fact in now for place in places}
    fields = dict.fromkeys([*now, *before])
    # A setting that came with a later raysyn, and is left out, changes nothing.
    different = [field for field in fields if before.get(field) != now.get(field)]
    told = [field for field in different if field not in known and not field.startswith(PLACES)]
    other = there["data_fingerprint"] != here["data_fingerprint"]
    asked = [field for field in told if not field.startswith(PLAN)]
    # From what is asked, and from how many images there are, prices follow.
    told = asked if asked or other else told
    if told or other:
        # Of other images, what was asked for is the best name, if anything else was.
        field = next(iter(told or [field for field in different if field.startswith(PLACES)]), None)
        if field is not None:
            if field == METHOD_SOURCE:
                raise ValueError(
                    f"--out {out} holds a run of {now['method']} by other code, as a file of its package has changed "
                    "since, and going on might ask the images anew with the same noise; choose another --out, or bring "
                    "back the file."
                )
            old, new = before.get(field, "absent"), now.get(field, "absent")
            by_another = " (the same was asked of another version of raysyn, which alone can go on with it)"
            raise ValueError(
                f"--out {out} holds a run with {field} = {old}, this one has {field} = {new}"
                f"{by_another if field.startswith(PLAN) else ''}; choose another --out."
            )
        before, now = (one["data_fingerprint"].split() for one in (there, here))
        if before[0] == now[0]:
            raise ValueError(
                f"--out {out} holds a run on the same training images and other test images (or validation images), "
                "with which it would be judged otherwise; choose another --out."
            )
        raise ValueError(
            f"--out {out} holds a run on other images (fingerprint {before[0][:12]}, now {now[0][:12]}), and going on "
            "would answer twice with the same noise; choose another --out."
        )


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) for every leaf of nested dicts."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
