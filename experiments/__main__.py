"""``python -m experiments NAME [options]``."""

from __future__ import annotations

import sys

try:
    # Inside the try: the imports take seconds, and a Ctrl-C in them is one as well.
    from experiments.command_line import main

    sys.exit(main())
except KeyboardInterrupt:
    print("interrupted: the same command goes on from the last checkpoint", file=sys.stderr)
    sys.exit(130)
