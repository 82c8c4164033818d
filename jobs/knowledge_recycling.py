"""Knowledge Recycling on Ray: `python jobs/knowledge_recycling.py PRESET`, alone or by `ray job submit`."""

import sys

from raysyn.command import main

if __name__ == "__main__":
    sys.exit(main(["knowledge_recycling", *sys.argv[1:]]))
