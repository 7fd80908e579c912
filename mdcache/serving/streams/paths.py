"""Parse the address of a stream connection: which market's, in which form, and its first topics. Pure.

The paths: docs/design.md#listeners.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute

_PATH = re.compile(
    r"(?:/(?P<base>usdm|coinm))?(?:/(?P<route>market|public|private))?"
    r"/(?P<form>stream/ws|ws|stream)(?:/(?P<topics>[^?]*))?(?:\?(?P<query>.*))?"
)
_PRIVATE = "private"
_LONGEST_TOPIC = 128
_LISTEN_KEY = re.compile(r"[A-Za-z0-9]{40,128}(@.*)?")  # they have 64; no symbol has 40
_SECRET_PARAMETERS = frozenset({"listenKey", "signature", "apiKey"})


@dataclass(frozen=True, slots=True)
class StreamPath:
    """What a connection is opened for.

    `route`: whose topics have frames here; `None`: all. `private`: none has. `combined`: frames name their topic.
    `keyed`: the address names an account's stream. `micros`: frames come in microseconds.
    """

    market: Market
    route: StreamRoute | None
    private: bool
    combined: bool
    topics: tuple[str, ...]
    keyed: bool
    micros: bool


def is_stream_path(target: str) -> bool:
    """Return whether a request's target is a path of streams."""
    return _PATH.fullmatch(target) is not None


def parse_stream_path(target: str) -> StreamPath | None:
    """Return what a request's target opens; `None` if it is no path of streams.

    Escapes are decoded, also that of the `/` between topics. A number in the path is a client's own, as in ccxt's
    `/ws/0`; the `+` of a time zone may be written as it is.
    """
    match = _PATH.fullmatch(target)
    if match is None:
        return None
    base, route = match["base"], match["route"]
    market = Market(base or ("usdm" if route else "spot"))
    combined = match["form"] == "stream"
    parameters = [(unquote(name), unquote(value)) for name, value in _parameters(match["query"] or "")]
    if combined:
        named = [topic for name, value in parameters if name == "streams" for topic in value.split("/")]
    else:
        named = [topic for topic in unquote(match["topics"] or "").split("/") if not topic.isdecimal()]
    topics = tuple(dict.fromkeys(topic for topic in named if topic))
    keyed = any(name in _SECRET_PARAMETERS for name, _ in parameters) or any(map(is_listen_key, topics))
    unit = next((value for name, value in parameters if name == "timeUnit"), "")
    return StreamPath(
        market,
        None if route in {None, _PRIVATE} else StreamRoute(route),
        route == _PRIVATE,
        combined,
        topics,
        keyed,
        market is Market.SPOT and unit.upper() == "MICROSECOND",  # futures have milliseconds only
    )


def is_listen_key(topic: str) -> bool:
    """Return whether a topic's name is the key of an account's stream."""
    return _LISTEN_KEY.fullmatch(topic) is not None


def is_topic(name: str) -> bool:
    """Return whether a text may be a topic's name. Those of symbols in other scripts are some, too."""
    return 0 < len(name) <= _LONGEST_TOPIC and name.isprintable() and not set(name) & set(' "\\')


def _parameters(query: str) -> list[tuple[str, str]]:
    pairs = (pair.partition("=") for pair in query.split("&"))
    return [(name, value) for name, _, value in pairs]
