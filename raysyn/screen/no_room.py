"""Whether something failed because there is no room for what is written."""

from __future__ import annotations

import errno
import os


def no_room(error: BaseException) -> str | None:
    """What a disk without room said, where that is why `error` was raised, here or by a worker: torch.save and workers
    raise something else over it."""
    cause: BaseException | None = error
    while cause is not None:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if (isinstance(cause, OSError) and cause.errno == number) or f"[Errno {number}]" in str(cause):
                return os.strerror(number)
        cause = cause.__cause__ or cause.__context__
    return None
