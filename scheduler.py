#!/usr/bin/env python3
"""The command: `scheduler.py -K app` launches workers for an app; `scheduler.py --help` teaches."""

import signal

if __name__ == "__main__":
    # Before anything else is imported: pydal swallows a KeyboardInterrupt while it tries drivers.
    # The command releases these signals as soon as it heeds them.
    _HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    from plugin_scheduler.cli.main import run

    run()
