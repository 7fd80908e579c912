"""The HTTP client for the daemon on this machine, at the address that the settings name."""

import http.client
import json
from contextlib import suppress
from typing import TypeVar

import msgspec

from mdcache.errors import MdcacheError
from mdcache.settings import Settings

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - the address it listens on -> the address to call
TIMEOUT_S = 10.0
_OK = 200
_T = TypeVar("_T")


class DaemonNotRunning(ConnectionError):
    """No daemon listens at that address."""


def address(settings: Settings) -> str:
    """Return the daemon's address as HOST:PORT."""
    return f"{_ANY_HOST.get(settings.host, settings.host)}:{settings.port}"


def request(settings: Settings, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    """Send a request, with the admin token if there is one; return status and body.

    Raises `DaemonNotRunning`, or `MdcacheError` if the connection fails in another way.
    """
    host = _ANY_HOST.get(settings.host, settings.host)
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    connection = http.client.HTTPConnection(host, settings.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, {"authorization": f"Bearer {token}"} if token else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except ConnectionRefusedError:
        where = f"{address(settings)} (MDCACHE_HOST and MDCACHE_PORT)"
        raise DaemonNotRunning(f"no daemon listens on {where}") from None
    except (OSError, http.client.HTTPException) as error:
        raise MdcacheError(f"{address(settings)}: {type(error).__name__} {error}") from None
    finally:
        connection.close()


def job_request(settings: Settings, method: str, *, path: str, kind: type[_T], body: str | None = None) -> _T:
    """Send a request about a job; return its progress.

    Raises `DaemonNotRunning`, or `MdcacheError`, with the daemon's message if it refuses.
    """
    status, content = request(settings, method, path, body)
    if status == _OK:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(content, type=kind)
    raise MdcacheError(f"{address(settings)} answered {status}: {_error_message(content)}")


def _error_message(content: bytes) -> str:
    try:
        return str(json.loads(content)["msg"])
    except (ValueError, KeyError, TypeError):
        return "not an mdcache, or another release of it"
