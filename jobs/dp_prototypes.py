"""Prototypes on Ray: `python jobs/dp_prototypes.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["dp_prototypes", *sys.argv[1:]]))
