#!/usr/bin/env python3
"""The command line: `scheduler.py -K app` starts a worker; `scheduler.py --help` lists the rest."""

import signal

if __name__ == "__main__":
    # Block these signals before the imports: pydal swallows a KeyboardInterrupt while it tries
    # drivers. The command unblocks them when its signal handling is ready.
    _HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    from plugin_scheduler.cli.main import run

    run()
