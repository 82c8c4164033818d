"""DP-Kernel on Ray: `python jobs/dp_kernel.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["dp_kernel", *sys.argv[1:]]))
