"""`python -m raysyn`: the command `raysyn`."""

import sys

from raysyn.command import main

sys.exit(main(prog="python -m raysyn"))
