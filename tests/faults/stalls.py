"""Whether the machine itself stalled meanwhile: then a broken promise says nothing of the daemon."""

import threading
import time
from typing import Self

MOST_S = 0.2  # a quarter of the time that a read may take
_EACH_S = 0.05


class Stalls:
    """Measures, while it is entered, by how much short sleeps were too long; `worst_s`: the longest."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            began_s = time.monotonic()
            time.sleep(_EACH_S)
            self.worst_s = max(self.worst_s, time.monotonic() - began_s - _EACH_S)
