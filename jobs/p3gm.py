"""P3GM on Ray: `python jobs/p3gm.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["p3gm", *sys.argv[1:]]))
