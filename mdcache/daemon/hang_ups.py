"""SIGHUP: read the settings again, or stop, if it means that the daemon's terminal is gone."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine

from mdcache.background_work import cancel_all


class HangUps:
    """Reloads at each SIGHUP, unless it means that the terminal is gone: then the daemon stops, as without a handler.

    Where SIGHUP was ignored at the start (`nohup`), the daemon outlives its terminal.
    """

    def __init__(self, reload: Callable[[], Coroutine[object, object, None]]) -> None:
        self._reload = reload
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends_with_terminal = False
        self._ended = False

    def listen(self) -> None:
        """Take the signal from now on, and one that has come since the start of the process (`mdcache.cli.app`)."""
        self._ends_with_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def aclose(self) -> None:
        """Begin no other reload, and end those that run. The signal means nothing any more: what stops, stops."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        await cancel_all(*self._tasks)

    def _hang_up(self) -> None:
        if self._ends_with_terminal and not _has_terminal():
            if not self._ended:  # the shell may send it, too
                self._ended = True
                os.kill(os.getpid(), signal.SIGTERM)
            return
        task = asyncio.create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
