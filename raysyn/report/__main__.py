"""`python -m raysyn.report RUN...`: the same as `raysyn report RUN...`."""

import sys

from raysyn.report.report import main

sys.exit(main(sys.argv[1:]))
