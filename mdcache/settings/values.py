"""The types of settings' values: their bounds, and the message for a wrong value.

No setting is named here. A message never quotes the value, which may be a secret.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr

from mdcache.exchange.intervals import INTERVALS

LANES = ("high", "normal", "low")
MAX_SECONDS = 1e12  # 31,000 years: longer times are reduced to this, so that clocks and timers can add it


def _fail(right: str) -> NoReturn:
    raise ValueError(right)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _url(*schemes: str) -> Callable[[str], str]:
    right = f"should be {' or '.join(f'{scheme}://' for scheme in schemes)} and a host, optionally with :port and /path"

    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            whole = parts.scheme in schemes and parts.hostname and parts.port != 0
        except ValueError:  # its text may quote part of a password
            whole = False
        if not whole or "?" in value or "#" in value or re.search(r"[\s\x00-\x1f]", value):
            _fail(right)
        return value.rstrip("/")

    return check


def _redis_url(value: SecretStr) -> SecretStr:
    schemes = ("redis", "rediss", "redis+sentinel", "redis+cluster")
    scheme, separator, rest = value.get_secret_value().partition("://")
    if scheme not in schemes or not separator or not rest.strip("/") or re.search(r"\s", rest):
        _fail(f"should be {', '.join(f'{scheme}://' for scheme in schemes[:-1])} or {schemes[-1]}:// and a host")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        _fail("should be visible ASCII characters without spaces, as allowed in an Authorization header")
    return value


def _word(value: str) -> str:
    return value if value and not re.search(r"[\s\x00-\x1f]", value) else _fail("should be one word")


def _folder(value: object) -> Path:
    try:
        return Path(str(value)).expanduser()
    except RuntimeError:
        _fail("should be a folder; there is no home folder that `~` could stand for")


def _origins(value: object) -> tuple[str, ...]:
    listed = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or any(not re.fullmatch(r"\*|https?://[^\s/?#@]+", o) for o in listed):
        _fail("should be origins such as https://desk.example:8080, separated by commas, or *")
    return tuple(listed)


def _host_names(value: object) -> tuple[str, ...]:
    listed = [item.strip() for item in value.split(",")] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or any(not re.fullmatch(r"\*|\.?\w[\w.-]*", name) for name in listed):
        _fail("should be names such as mdcache.example or .example (all below it), separated by commas, or *")
    return tuple(listed)


def _json_map(value: object, wrong: Callable[[str, Any], str | None], example: str) -> Mapping[str, Any]:
    """Return the map in `value` (JSON, or a mapping), or fail with what `wrong` says about its entries."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = {key for key, _ in items if [other for other, _ in items].count(key) > 1}
        return _fail(f"should name each key once: {', '.join(sorted(twice))}") if twice else dict(items)

    try:
        found = json.loads(value, object_pairs_hook=pairs) if isinstance(value, str) else value
    except (json.JSONDecodeError, RecursionError):
        _fail(f"should be JSON such as {example}")
    if not isinstance(found, Mapping):
        _fail(f"should be a JSON object such as {example}")
    faults = [fault for key, entry in found.items() if (fault := wrong(key, entry))]
    return _fail("; ".join(faults)) if faults else MappingProxyType(dict(found))


def _not_seconds(key: str, entry: object) -> str | None:
    # The comparison rejects NaN, infinity and integers beyond a float's range.
    if isinstance(entry, int | float) and not isinstance(entry, bool) and 0 <= entry <= sys.float_info.max:
        return None
    return f"{key!r} should be seconds, 0 or more"


def _capped(seconds: float) -> float:
    return min(seconds, MAX_SECONDS)


def _capped_values(found: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType({key: _capped(seconds) for key, seconds in found.items()})


def _interval_ttls(value: object) -> Mapping[str, float]:
    def wrong(key: str, entry: object) -> str | None:
        if key not in INTERVALS:
            return f"{key!r} is not an interval: {', '.join(INTERVALS)}"
        return _not_seconds(key, entry)

    return _capped_values(_json_map(value, wrong, '{"1m":1,"1M":60}'))


def _path_ttls(value: object) -> Mapping[str, float]:
    def wrong(key: str, entry: object) -> str | None:
        if not re.fullmatch(r"\w+(/\w+)*", key):
            return f"{key!r} should be a path's tail, such as ticker/24hr"
        return _not_seconds(key, entry)

    return _capped_values(_json_map(value, wrong, '{"ticker/24hr":5}'))


def _client_lanes(value: object) -> Mapping[str, str]:
    def wrong(key: str, entry: object) -> str | None:
        if not key.strip():
            return "a client's name should not be empty"
        return None if entry in LANES else f"{key!r} should have one of the lanes {', '.join(LANES)}"

    return _json_map(value, wrong, '{"engine":"high","ai":"normal"}')


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_capped)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_capped)]
PositiveInt = Annotated[int, Field(ge=1)]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https"))]
WsUrl = Annotated[str, AfterValidator(_url("ws", "wss"))]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Word = Annotated[str, AfterValidator(_word)]
IntervalTtls = Annotated[Mapping[str, float], PlainValidator(_interval_ttls)]
PathTtls = Annotated[Mapping[str, float], PlainValidator(_path_ttls)]
ClientLanes = Annotated[Mapping[str, str], PlainValidator(_client_lanes)]
FolderPath = Annotated[Path, PlainValidator(_folder)]
HostNames = Annotated[tuple[str, ...], PlainValidator(_host_names)]
Origins = Annotated[tuple[str, ...], PlainValidator(_origins)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Lower = BeforeValidator(_lower)
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], Lower]
Mode = Annotated[Literal["auto", "on", "off"], Lower]


def empty_map() -> Mapping[str, Any]:
    """Return a new empty map; pydantic would try to copy a shared one."""
    return MappingProxyType({})
