"""The id that a replica keeps in its state directory: the next process there is the same replica."""

import re
from collections.abc import Callable

from mdcache.stores.disk.state_dir import StateDir, replace_file

FILE = "replica"
_OLD_FILE = "replicas"  # ids in an older format, no longer used
_ID = re.compile(r"[0-9a-f]{16}")


class ReplicaId:
    """This replica's id: the one in its state directory, else a new one. `returning`: an earlier process used it.

    If that process still runs, one of the two directories is a copy of the other; see `renew`.
    """

    def __init__(self, folder: StateDir | None, make: Callable[[], str]) -> None:
        self._path = folder.path / FILE if folder is not None and folder.lock >= 0 else None
        self._make = make
        kept = self._read()
        self.returning = bool(kept)
        self.own = kept or make()
        self._kept = bool(kept)

    def keep(self) -> None:
        """Save the id, once; called when the other replicas know it.

        If that fails, the next process has another id, and this one's part of the budget is kept for ten minutes.
        """
        if self._path is None or self._kept:
            return
        self._kept = True
        try:
            replace_file(self._path, self.own.encode())
            self._path.with_name(_OLD_FILE).unlink(missing_ok=True)
        except OSError:
            return  # the stores in this directory report that

    def renew(self) -> None:
        """Take another id: a process with this one is running elsewhere."""
        self.own, self._kept = self._make(), False

    def _read(self) -> str:
        try:
            text = self._path.read_text(encoding="ascii", errors="replace").strip() if self._path is not None else ""
        except OSError:
            return ""
        return text if _ID.fullmatch(text) else ""
