"""The command line as `python -m plugin_scheduler`: the same as `scheduler.py`."""

from plugin_scheduler.cli.main import run

if __name__ == "__main__":
    run()
