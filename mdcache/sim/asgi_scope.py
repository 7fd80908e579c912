"""Shared by HTTP requests and WebSockets: ASGI's types, the client's address, and breaking a connection."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]  # as ASGI defines it
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ABORT = "mdcache.sim.abort"  # scope["extensions"][ABORT]["abort"]() closes the connection at once
_CLIENT_HEADER = "x-sim-client"  # simulates another client address


class ConnectionBroken(ConnectionError):
    """The simulated exchange closed the connection before its reply was complete."""


def request_headers(scope: Scope) -> dict[str, str]:
    """Return a request's headers by their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def client_of(scope: Scope, headers: Mapping[str, str]) -> str:
    """Return the address that is charged."""
    peer = scope.get("client") or ("127.0.0.1", 0)
    return headers.get(_CLIENT_HEADER, peer[0])


def break_connection(scope: Scope) -> None:
    """Close the connection without an answer."""
    extension = (scope.get("extensions") or {}).get(ABORT)
    if extension is None:
        raise ConnectionBroken("the simulated exchange closed the connection")
    extension["abort"]()
