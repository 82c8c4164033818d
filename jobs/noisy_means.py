"""Noisy means on Ray: `python jobs/noisy_means.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["noisy_means", *sys.argv[1:]]))
