"""Where the workers of our jobs look for modules."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from ray.job_config import JobConfig


class OurJob(JobConfig):
    """Keeps the folder that the driver starts in off its workers' import path, unless the driver imports from it.

    Ray puts it there before all else when a worker takes its first task, ahead of modules that Ray itself has yet to
    import: a user's statistics.py would be taken for Python's own. Nothing of ours that runs in a worker is early or
    late enough to mend it, not a worker_process_setup_hook either. A user's network is found in that folder all the
    same (`models.imported`), and what a runtime environment brings stays as it is.
    """

    def __init__(self, *, ours: bool) -> None:
        """`ours`: this process starts the cluster, whose workers inherit its whole path (`process.our_modules`)."""
        super().__init__()
        submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # by `ray job submit`, whose folder is Ray's matter
        self._left_out = None if submitted or (not ours and _imports_from_start_folder()) else os.getcwd()

    def _get_proto_job_config(self) -> Any:
        # By now Ray has put folders on the list, and has sent it nowhere yet.
        self._py_driver_sys_path = [folder for folder in self._py_driver_sys_path if folder != self._left_out]
        return super()._get_proto_job_config()


def _imports_from_start_folder() -> bool:
    """Whether raysyn lies in the folder that the driver starts in, or it stands before Python's own on the path."""
    here, python = os.getcwd(), sysconfig.get_path("stdlib")
    first = sys.path[: sys.path.index(python)] if python in sys.path else sys.path
    return here in map(os.path.abspath, first) or Path(here).resolve() == Path(__file__).resolve().parents[2]
