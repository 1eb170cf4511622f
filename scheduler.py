#!/usr/bin/env python3
"""The command: `scheduler.py -K app` launches workers for an app; `scheduler.py --help` teaches."""

import sys

if __name__ == "__main__":
    from plugin_scheduler.cli import main

    sys.exit(main())
