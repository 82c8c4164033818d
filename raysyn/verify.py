"""`python -m raysyn.verify RELEASE`: the same as `raysyn verify RELEASE`."""

import sys

from raysyn.report.verify import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
