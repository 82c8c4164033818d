"""PrivImage on Ray: `python jobs/privimage.py PRESET [--flags]`, alone or through `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["privimage", *sys.argv[1:]]))
