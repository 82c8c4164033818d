"""PIGAN on Ray: `python jobs/pigan.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["pigan", *sys.argv[1:]]))
