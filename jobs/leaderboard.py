"""The leaderboard on Ray: `python jobs/leaderboard.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["leaderboard", *sys.argv[1:]]))
