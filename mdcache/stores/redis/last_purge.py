"""Which purges the rows in a folder know of: beside them, for the process that comes next."""

import msgspec

from mdcache.stores.disk.state_dir import StateDir, replace_file

FILE = "purges"
MAX_ENTRIES = 256


def read(state_dir: StateDir | None) -> frozenset[bytes]:
    """Entries of the list that were followed; none where that can't be read: then all are followed again."""
    if state_dir is None:
        return frozenset()
    try:
        return frozenset(msgspec.msgpack.decode((state_dir.path / FILE).read_bytes(), type=list[bytes]))
    except (OSError, msgspec.MsgspecError):
        return frozenset()


def write(state_dir: StateDir | None, entries: frozenset[bytes]) -> None:
    """These were followed; where nothing can be written, they are once more after the next start."""
    if state_dir is None or state_dir.lock < 0:
        return
    try:
        replace_file(state_dir.path / FILE, msgspec.msgpack.encode(sorted(entries)))
    except OSError:
        return  # the stores in this folder tell of their trouble
