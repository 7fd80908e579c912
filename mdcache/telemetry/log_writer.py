"""Write the log without raising or blocking, whatever happens to its reader.

A log's reader may end (a broken pipe) or stop reading (a full pipe), or its disk may be full. None of that is a
reason to stop serving: a thread writes, and what can't be written, or is too much, is dropped.
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
    """Bytes to the file descriptor `fd`, which stays its owner's."""

    def __init__(self, fd: int, max_queued: int = _MAX_QUEUED) -> None:
        super().__init__()
        self._fd = fd
        self._queued: queue.Queue[bytes | None] = queue.Queue(max_queued)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def as_text(self) -> TextIO:
        """Return a text stream into it; each `flush` is one piece, written or dropped whole."""
        return io.TextIOWrapper(io.BufferedWriter(self), encoding="utf-8", errors="backslashreplace")

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._fd)

    def write(self, data: "ReadableBuffer") -> int:
        """Take `data`, all of it, to write it soon, or drop it where too much is waiting."""
        piece = bytes(data)
        with contextlib.suppress(queue.Full):
            self._queued.put_nowait(piece)
        return len(piece)

    def drain(self, timeout_s: float) -> None:
        """Return when all that was taken is written, or after `timeout_s`; take no more."""
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
                continue  # the next one may find a reader, or room
