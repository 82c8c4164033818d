"""LiRA on Ray: `python jobs/lira.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["lira", *sys.argv[1:]]))
