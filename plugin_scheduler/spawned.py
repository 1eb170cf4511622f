"""A runner that was not forked: `python -m plugin_scheduler.spawned CONTROL OUTPUT TRACE`.

I own nothing but this entry. I call runner.
"""

import json
import sys

if __name__ == "__main__":
    from plugin_scheduler import runner

    control, output, trace = (int(fd) for fd in sys.argv[1:4])
    sys.exit(runner.main(control, output, trace, json.load(sys.stdin), None))
