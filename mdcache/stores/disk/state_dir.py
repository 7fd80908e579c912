"""The daemon's folder: one daemon has it at a time, and small files in it change whole or not at all."""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

_MODE = 0o700  # what was asked of the exchange is nobody else's business


class StateDirLocked(OSError):
    """Another daemon works in this folder."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """`path` is ours to write in, as long as `lock` (a file descriptor) is open.

    `trouble`: why it can't be written in; what can be read in it may be read all the same. Empty: it can.
    """

    path: Path
    lock: int = -1
    trouble: str = ""

    def release(self) -> None:
        """Let others have it."""
        if self.lock >= 0:
            os.close(self.lock)


def open_state_dir(path: Path) -> StateDir:
    """The folder at `path`, made where it is missing. Raises `StateDirLocked` where another daemon has it."""
    try:
        path.mkdir(_MODE, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return StateDir(path, trouble=_describe(path, error))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise StateDirLocked(
                f"another daemon works in {path}: end it, or give this one a folder of its own (MDCACHE_STATE_DIR)"
            ) from None
        return StateDir(path, trouble=_describe(path, error))  # a file system without locks
    return StateDir(path, lock)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in place of the file at `path`; after a loss of power it is the old or the new, whole.

    Raises `OSError`; then the old one is still there.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _describe(path: Path, error: OSError) -> str:
    return f"{path}: {error.strerror or error}"
