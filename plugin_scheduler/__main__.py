"""`python -m plugin_scheduler`: the same as `scheduler.py`."""

import sys

from plugin_scheduler.cli import main

if __name__ == "__main__":
    sys.exit(main())
