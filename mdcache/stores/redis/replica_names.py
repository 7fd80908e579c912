"""Names of the replicas that ran in one folder, one after the other: whoever has the folder knows that they ended."""

import re
from pathlib import Path

from mdcache.stores.disk.state_dir import StateDir, replace_file

FILE = "replicas"
_MOST = 8  # the last of them; more deaths than that while Redis was never there leave their parts for ten minutes
_NAME = re.compile(r"[0-9a-f]{16}")


class Names:
    """This process's name, and those `before` it; none where nothing can be written."""

    def __init__(self, folder: StateDir | None, own: str) -> None:
        self.own = own
        self._path = folder.path / FILE if folder is not None and folder.lock >= 0 else None
        self.before = _read(self._path) if self._path is not None else ()

    def sign(self) -> None:
        """Write it down after them, once: others know it now.

        Where that fails nobody can tell of this one when it is gone, which costs its part for ten minutes.
        """
        path, self._path = self._path, None
        if path is None:
            return
        try:
            replace_file(path, "\n".join((*self.before, self.own)[-_MOST:]).encode())
        except OSError:
            return  # the stores in this folder tell of their trouble


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if _NAME.fullmatch(line))[-_MOST:]
