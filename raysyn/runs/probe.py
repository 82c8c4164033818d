"""Can a place be written to? Tried before anything is paid whose answer would go there."""

from __future__ import annotations

from raysyn.runs.storage import file_system, local_folder, without_password, write_bytes

PROBE = ".tried-by-raysyn"


def check_writable(place: str) -> None:
    """ValueError, in one sentence, for a URI that is no place, cannot be reached, or takes no file; nothing is left
    there. A folder of this machine is made, or refused, by whoever writes there first."""
    if local_folder(place) is not None:
        return
    system, path = file_system(place)
    try:
        write_bytes(place, PROBE, b"")
        system.delete_file(f"{path}/{PROBE}")
    except OSError as error:
        raise ValueError(
            f"{without_password(place)!r} cannot be written to ({str(error).splitlines()[0]}): see to its name, and to "
            "who may write and delete there"
        ) from error
