"""Names of the replicas that ran in one folder, one after the other: whoever has the folder knows that they ended."""

import re
from pathlib import Path

from mdcache.stores.folder import Folder, replace_file

FILE = "replicas"
_MOST = 8  # the last of them; more deaths than that while Redis was never there leave their parts for ten minutes
_NAME = re.compile(r"[0-9a-f]{16}")


def signed(folder: Folder | None, name: str) -> tuple[str, ...]:
    """Those before `name`, which is written down after them; none where nothing can be written.

    Whoever was not written down could not be told of when it is gone, which costs its part for ten minutes.
    """
    if folder is None or folder.lock < 0:
        return ()
    path = folder.path / FILE
    before = _read(path)
    try:
        replace_file(path, "\n".join((*before, name)[-_MOST:]).encode())
    except OSError:
        return before  # the stores in this folder tell of their trouble
    return before


def _read(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ()
    return tuple(line for line in text.splitlines() if _NAME.fullmatch(line))[-_MOST:]
