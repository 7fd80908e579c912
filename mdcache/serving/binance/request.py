"""Parse a client's request headers (docs/design.md#headers); malformed values are ignored.

Clients repeat their header values, so the parsed forms of a few hundred recent ones are cached.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from mdcache.cache.answers import Caller
from mdcache.candles.freshness import FreshnessDirectives
from mdcache.exchange.endpoints import Endpoint
from mdcache.exchange.markets import KlineEndpoint, Market
from mdcache.upstream.priority import Lane

RequestKey = tuple[str, bytes, bytes]  # path, raw query, time unit: they determine the rows of an answer
RawHeaders = Iterable[tuple[bytes, bytes]]

_PARSE_CACHE_SIZE = 512
_MAX_HEADER_BYTES = 4_096  # bytes of one header; a longer one is ignored
_DELTA_SECONDS = re.compile(r"\d{1,10}", re.ASCII)  # ten digits of seconds are three centuries
_MILLISECONDS = re.compile(rb"\d{1,16}")
_ETAG = re.compile(rb'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_QVALUE = re.compile(r"[01](?:\.\d{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """The parts of a request other than its question.

    `directives` is `None` if the request has none. `gzip`: the client accepts it, and this daemon compresses.
    `tags` are what `If-None-Match` lists, without quotes and `W/`; `any_tag`: it is `*`.
    """

    rule: KlineEndpoint | Endpoint
    key: RequestKey
    directives: FreshnessDirectives | None = None
    client: str = ""
    lane: Lane = Lane.NORMAL
    gzip: bool = False
    tags: frozenset[bytes] = frozenset()
    any_tag: bool = False
    address: str = ""

    @property
    def caller(self) -> Caller:
        """Return on whose behalf it is answered."""
        return Caller(self.client, self.lane, self.address)

    @property
    def market(self) -> Market:
        """Return the market of the path."""
        return self.rule.market


class RequestParser:
    """Parses requests' headers, given the configured clients and whether this daemon compresses."""

    def __init__(self, clients: Mapping[str, str], compress: str) -> None:
        self.set_clients(clients)
        self._gzip_remote = compress != "off"
        self._gzip_loopback = compress == "on"

    def set_clients(self, clients: Mapping[str, str]) -> None:
        """Know these clients from now on, by name, with their lanes."""
        self._lanes = {name.encode(): (name, Lane(lane)) for name, lane in clients.items()}

    def client(self, headers: RawHeaders) -> str:
        """Return the configured name that a request gives; empty for none."""
        said = next((value for name, value in headers if name == b"x-mdcache-client"), b"")
        return self._lanes.get(said.strip(), ("", Lane.NORMAL))[0]

    def parse(
        self, rule: KlineEndpoint | Endpoint, query: bytes, headers: RawHeaders, address: str | None = None
    ) -> ClientRequest:
        """Parse the headers of a request for `rule.path`; `address`: where it comes from, `None` for this machine."""
        said: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _KNOWN_HEADERS:
                joined = said[name] + b", " + value if name in said else value
                said[name] = joined[:_MAX_HEADER_BYTES]  # the keys of the caches below
        client, lane = self._lanes.get(said.get(b"x-mdcache-client", b"").strip(), ("", Lane.NORMAL))
        tags, any_tag = parse_if_none_match(said.get(b"if-none-match", b""))
        allowed = self._gzip_loopback if is_loopback(address) else self._gzip_remote
        cache_control = b"" if _added_by_fetch(said) else said.get(b"cache-control", b"")
        unit = said.get(b"x-mbx-time-unit", b"") if rule.market is Market.SPOT else b""
        return ClientRequest(
            rule=rule,
            key=(rule.path, query, unit),
            directives=parse_directives(cache_control, said.get(b"x-mdcache-min-as-of", b"")),
            client=client,
            lane=lane,
            gzip=allowed and accepts_gzip(said.get(b"accept-encoding", b"")),
            tags=tags,
            any_tag=any_tag,
            address=address or "",
        )


_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since", b"if-range")
_KNOWN_HEADERS = frozenset(
    {
        *_CONDITIONS,
        b"accept-encoding",
        b"cache-control",
        b"pragma",
        b"x-mbx-time-unit",
        b"x-mdcache-client",
        b"x-mdcache-min-as-of",
    }
)


def _added_by_fetch(said: Mapping[bytes, bytes]) -> bool:
    """Return whether `no-cache` is not the caller's, but comes with his condition (docs/design.md#headers)."""
    return (
        b"pragma" in said
        and any(name in said for name in _CONDITIONS)
        and said.get(b"cache-control", b"").strip().lower() == said[b"pragma"].strip().lower() == b"no-cache"
    )


@lru_cache(_PARSE_CACHE_SIZE)
def parse_directives(cache_control: bytes, min_as_of: bytes) -> FreshnessDirectives | None:
    """Parse `Cache-Control` and `X-MDCache-Min-As-Of`; return `None` if they have no directive about age."""
    max_age_s: float | None = None
    max_stale_s: float | None = None
    no_cache = only_if_cached = False
    for directive in cache_control.decode("latin-1").split(","):
        name, equals, value = directive.strip().partition("=")
        name, value = name.rstrip().lower(), value.strip().strip('"')
        number = float(value) if equals and _DELTA_SECONDS.fullmatch(value) else None
        if name == "max-age" and number is not None:
            max_age_s = number if max_age_s is None else min(max_age_s, number)
        elif name == "max-stale" and (number is not None or not equals):
            max_stale_s = _ANY_STALE_S if number is None else number
        elif name == "no-cache":
            no_cache = True
        elif name == "only-if-cached":
            only_if_cached = True
    since = min_as_of.strip()
    min_as_of_ms = int(since) if _MILLISECONDS.fullmatch(since) else None
    directives = FreshnessDirectives(max_age_s, max_stale_s, no_cache, only_if_cached, min_as_of_ms)
    return None if directives == FreshnessDirectives() else directives


_ANY_STALE_S = 1e9  # max-stale without a number: any age is fine (RFC 9111, 5.2.1.2)


@lru_cache(_PARSE_CACHE_SIZE)
def accepts_gzip(accept_encoding: bytes) -> bool:
    """Return whether `Accept-Encoding` names gzip (or `*`, and gzip not otherwise) with a weight above zero."""
    weights = accepted_weights(accept_encoding)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0))) > 0


@lru_cache(_PARSE_CACHE_SIZE)
def accepts_only_sbe(accept: bytes) -> bool:
    """Return whether `Accept` names Binance's binary format, and nothing that matches JSON."""
    weights = accepted_weights(accept)
    json = next((weights[name] for name in _JSON_RANGES if name in weights), 0)
    return weights.get("application/sbe", 0) > 0 and json == 0


_JSON_RANGES = ("application/json", "application/*", "*/*")  # the most specific counts (RFC 9110, 12.5.1)


def accepted_weights(header: bytes) -> dict[str, float]:
    """Return the names that the value of an `Accept…` header lists, in lower case, with their weights."""
    weights: dict[str, float] = {}
    for part in header.decode("latin-1").split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        weights[name] = _qvalue(parameters)
    return weights


def _qvalue(parameters: list[str]) -> float:
    for parameter in parameters:
        name, value = (part.strip() for part in parameter.partition("=")[::2])
        if name == "q":
            return float(value) if _QVALUE.fullmatch(value) else 0.0
    return 1.0


@lru_cache(_PARSE_CACHE_SIZE)
def parse_if_none_match(if_none_match: bytes) -> tuple[frozenset[bytes], bool]:
    """Return the tags that `If-None-Match` lists, for weak comparison (RFC 9110, 13.1.2), and whether it is `*`."""
    value = if_none_match.strip()
    return frozenset(_ETAG.findall(value)), value == b"*"


@lru_cache(_PARSE_CACHE_SIZE)
def is_loopback(host: str | None) -> bool:
    """Return whether a peer is this machine: a loopback address, or none (a Unix socket)."""
    return host is None or host == "::1" or host.removeprefix("::ffff:").startswith("127.")
