"""The daemon's state directory: locked by one daemon at a time, with small files that are replaced atomically."""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

_MODE = 0o700  # what was asked of the exchange is private


class StateDirLocked(OSError):
    """Another daemon is using this directory."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """A directory that this process may write to as long as `lock`, a file descriptor, is open.

    `trouble` says why nothing can be written to it, and is empty if it can. Files may be read in either case.
    """

    path: Path
    lock: int = -1
    trouble: str = ""

    def release(self) -> None:
        """Release the lock."""
        if self.lock >= 0:
            os.close(self.lock)


def open_state_dir(path: Path, lock_name: str = "lock") -> StateDir:
    """Lock a state directory for this process.

    Args:
        path: its path; it is created if missing.
        lock_name: its file that is locked: the daemon's, or that of a command that may run beside it, but once.

    Returns:
        The directory, with `trouble` set if nothing can be written to it.

    Raises:
        StateDirLocked: another daemon holds the lock.
    """
    try:
        make_folder(path)
        lock = os.open(path / lock_name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return StateDir(path, trouble=_describe(path, error))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise StateDirLocked(
                f"another daemon is using {path}: stop it, or give this one its own folder (MDCACHE_STATE_DIR)"
            ) from None
        return StateDir(path, trouble=_describe(path, error))  # a file system without locks
    return StateDir(path, lock)


def make_folder(path: Path) -> None:
    """Create a folder, unless there is one: it may have been removed since the start. Raises `OSError`."""
    path.mkdir(_MODE, parents=True, exist_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file at `path` atomically: after a power loss it is the old one or the new one.

    Raises:
        OSError: it could not be written; the old file is unchanged.
    """
    make_folder(path.parent)
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
