"""DP-FETA on Ray: `python jobs/dp_feta.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["dp_feta", *sys.argv[1:]]))
