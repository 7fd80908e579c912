"""Run a command in the terminal's foreground, in a process group of its own: `python -m tools.foreground COMMAND …`.

Ctrl-C then ends the command alone. `make`, which always reports an interrupt as an error, returns the command's exit
code. Without a terminal, or in the background, the command just takes this process's place.
"""

import os
import signal
import subprocess
import sys

_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


def main(command: list[str]) -> int:
    """Return the command's exit code, as a shell would."""
    terminal = _controlling_terminal()
    if terminal is None:
        os.execvp(command[0], command)  # noqa: S606 - the Makefile's own command
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to a background process that changes the foreground
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # inherited: Ctrl-Z would stop the command, and make wait for ever
    process = subprocess.Popen(command, process_group=0)  # noqa: S603 - the Makefile's own command
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: process.send_signal(number))
    os.tcsetpgrp(terminal, process.pid)
    try:
        code = process.wait()
    finally:
        os.tcsetpgrp(terminal, os.getpgrp())
    return code if code >= 0 else 128 - code


def _controlling_terminal() -> int | None:
    """Return the terminal whose foreground this process is in, if any."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return terminal if os.tcgetpgrp(terminal) == os.getpgrp() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
