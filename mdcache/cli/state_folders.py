"""Find the state folder to inspect if the command line names none."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from mdcache.cli.daemon_client import DaemonNotRunning, request
from mdcache.errors import MdcacheError
from mdcache.settings import Settings

MAKE_RUN = Path(".run/sim/state")  # of `make run SIM=1`, in a checkout; test_inspect compares it with the Makefile
_OK = 200


class _Disk(msgspec.Struct):
    path: str = ""


class _Stores(msgspec.Struct):
    disk: _Disk


class _Status(msgspec.Struct):
    stores: _Stores


def candidates(settings: Settings, named: Path | None) -> tuple[Path, ...]:
    """Return where to look, in this order.

    A folder that is named, on the command line or by MDCACHE_STATE_DIR, is the only one. Otherwise: that of the daemon
    at HOST:PORT, the platform's, and that of `make run SIM=1` in this checkout.
    """
    if named is not None:
        return (named,)
    if "state_dir" in settings.given:
        return (settings.state_dir,)
    return tuple(dict.fromkeys((*_of_the_daemon(settings), settings.state_dir, MAKE_RUN.absolute())))


def _of_the_daemon(settings: Settings) -> Iterator[Path]:
    try:
        status, body = request(settings, "GET", "/v1/status")
        path = msgspec.json.decode(body, type=_Status).stores.disk.path if status == _OK else ""
    except (DaemonNotRunning, MdcacheError, msgspec.MsgspecError):
        return
    if path:
        yield Path(path).parent
