"""Which purges the rows in a folder know of: beside them, for the process that comes next."""

import msgspec

from mdcache.stores.folder import Folder, replace_file

FILE = "purges"
MOST = 256


def read(folder: Folder | None) -> frozenset[bytes]:
    """Entries of the list that were followed; none where that can't be read: then all are followed again."""
    if folder is None:
        return frozenset()
    try:
        return frozenset(msgspec.msgpack.decode((folder.path / FILE).read_bytes(), type=list[bytes]))
    except (OSError, msgspec.MsgspecError):
        return frozenset()


def write(folder: Folder | None, entries: frozenset[bytes]) -> None:
    """These were followed; where nothing can be written, they are once more after the next start."""
    if folder is None or folder.lock < 0:
        return
    try:
        replace_file(folder.path / FILE, msgspec.msgpack.encode(sorted(entries)))
    except OSError:
        return  # the stores in this folder tell of their trouble
