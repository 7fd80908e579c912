"""Write the log without raising or blocking, even if its reader fails.

A log's reader may exit (a broken pipe) or stop reading (a full pipe), or its disk may be full. None of that is a reason
to stop serving: a thread writes, and drops what can't be written or is too much.
"""

import contextlib
import io
import os
import queue
import threading
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MAX_QUEUED = 2_000  # lines, of a few hundred bytes each


class NonBlockingWriter(io.RawIOBase):
    """Writes bytes to the file descriptor `fd`, which its owner closes."""

    def __init__(self, fd: int, max_queued: int = _MAX_QUEUED) -> None:
        super().__init__()
        self._fd = fd
        self._queued: queue.Queue[bytes | None] = queue.Queue(max_queued)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def as_text(self) -> TextIO:
        """Return a text stream on top of it; each `flush` is one chunk, written or dropped as a whole."""
        return io.TextIOWrapper(io.BufferedWriter(self), encoding="utf-8", errors="backslashreplace")

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._fd)

    def write(self, data: "ReadableBuffer") -> int:
        """Queue all of `data`, or drop it if too much is waiting."""
        piece = bytes(data)
        with contextlib.suppress(queue.Full):
            self._queued.put_nowait(piece)
        return len(piece)

    def drain(self, timeout_s: float) -> None:
        """Accept no more data, and wait until everything queued is written, for at most `timeout_s`."""
        try:
            self._queued.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (piece := self._queued.get()) is not None:
            try:
                while piece:
                    piece = piece[os.write(self._fd, piece) :]
            except OSError:
                continue  # the next one may succeed
