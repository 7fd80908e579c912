"""Run a command of this package until the pipe at its standard input closes: `python -m mdcache.cli.child serve`.

The process that starts it holds the other end; however it ends, its end of the pipe closes.
"""

import os
import signal
import threading

from mdcache.cli.app import main


def _end_with_parent() -> None:
    """Wait until the pipe is closed, then end this process in order."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
