"""Private evolution on Ray: `python jobs/evolution.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["evolution", *sys.argv[1:]]))
