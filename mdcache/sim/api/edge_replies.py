"""Replies to those who come at a bad time, without a key or to the wrong place."""

import re
from collections.abc import Mapping

from mdcache.sim.api.refusals import BAD_KEY, NO_KEY, UNKNOWN_PATH, ApiRefusal, banned, too_many
from mdcache.sim.config import Family, SimConfig
from mdcache.sim.control.faults import HTML_TYPE, Fault

_NOT_FOUND_PAGE = b"<html><body><h2>404 Not found</h2></body></html>"  # CHANGELOG.md 2023-12-04
_BUSY = {
    "spot": ApiRefusal(-1000, "An unknown error occurred while processing the request.", 500),
    "futures": ApiRefusal(-1001, "Internal error; unable to process your request. Please try again.", 500),
}
_UNAVAILABLE = ApiRefusal(
    -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503
)
_KEY = re.compile("[A-Za-z0-9]{64}")


def status_refusal(
    fault: Fault, family: Family, client: str, config: SimConfig, at_ms: int
) -> tuple[ApiRefusal, int | None]:
    """What a fault of a status says, and how long to wait (seconds) if it tells."""
    wait_s = fault.retry_after_s
    match fault.kind:
        case "429":
            return too_many(family, client, config.limit(family)), wait_s
        case "418":
            return banned(family, client, at_ms + 1000 * (config.first_ban_s if wait_s is None else wait_s)), wait_s
        case "500":
            return _BUSY[family], None
        case _:
            return _UNAVAILABLE, None


def key_refusal(headers: Mapping[str, str]) -> ApiRefusal:
    """The refusal of a path that needs a key: nobody has one here, but some send what looks like one."""
    sent = next((value for name, value in headers.items() if name.lower() == "x-mbx-apikey"), "")
    return BAD_KEY if _KEY.fullmatch(sent) else NO_KEY


def unknown(method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes, str | None]:
    """(status, body, content type) for a path that does not exist."""
    if path.startswith(("/fapi/", "/dapi/", "/futures/")):
        return 404, UNKNOWN_PATH.about(path, method).body(), None
    accepted = next((value for name, value in headers.items() if name.lower() == "accept"), "")
    return (404, _NOT_FOUND_PAGE, HTML_TYPE) if HTML_TYPE in accepted else (404, b"", None)
