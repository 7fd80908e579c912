"""Parse a request for anything but klines into a question, or raise the refusal Binance would give.

Requests that mean the same become equal `SnapshotQuestion`s, regardless of the order, spelling and percent-encoding of
parameters, and of defaults that were sent.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl, quote

import msgspec

from mdcache.exchange import refusals
from mdcache.exchange.endpoints import Endpoint, Parameter, ParameterKind, endpoint_for
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name, wants_micros, whole_number, zone_minutes
from mdcache.exchange.undecodable import UNDECODABLE

_MAX_SYMBOLS = 5_000  # more than any market lists
_names_decoder = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True)
class SnapshotQuestion:
    """A question in canonical form. `values` are in the endpoint's order; `symbols` are the symbols among them."""

    endpoint: Endpoint
    values: tuple[tuple[str, str], ...]
    symbols: tuple[str, ...] = ()
    micros: bool = False

    @property
    def market(self) -> Market:
        """The market that is asked."""
        return self.endpoint.market

    @property
    def weight(self) -> int:
        """Its weight by Binance's documents."""
        return self.endpoint.weight.weigh(dict(self.values), len(self.symbols))

    @property
    def query(self) -> str:
        """The query string of the request to Binance."""
        return "&".join(f"{quote(each, safe='')}={quote(value, safe='')}" for each, value in self.values)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of the request to Binance."""
        return (("X-MBX-TIME-UNIT", "MICROSECOND"),) if self.micros else ()

    def value(self, parameter: str) -> str:
        """Return the value of this parameter; empty if it was not sent."""
        return next((value for each, value in self.values if each == parameter), "")

    def list_question(self) -> "SnapshotQuestion | None":
        """Return the question for the list that contains this answer; `None` if there is none."""
        if not self.endpoint.lists_elements or (not self.symbols and not self.value("pair")):
            return None
        rest = tuple(pair for pair in self.values if pair[0] not in {"symbol", "symbols", "pair"})
        return SnapshotQuestion(self.endpoint, rest, (), self.micros)

    def __str__(self) -> str:
        return f"{self.endpoint.path}?{self.query}" + ("#us" if self.micros else "")


@dataclass(frozen=True, slots=True)
class SnapshotBody:
    """The answer to a snapshot question as Binance sent it.

    `as_of_ms`: exchange time of the send, less an upstream's `Age`.
    """

    body: bytes
    as_of_ms: int


def parse_snapshot(path: str, query: str, time_unit: str | None) -> SnapshotQuestion:  # noqa: C901 - one check after another
    """Parse a request to `path`, or raise the `Refusal` Binance would give.

    Args:
        path: a path of `ENDPOINTS`.
        query: the raw query string.
        time_unit: the header `X-MBX-TIME-UNIT`, if sent.
    """
    endpoint = endpoint_for(path, dict(parse_qsl(query[:1_000])))
    spot = endpoint.market is Market.SPOT
    known = {each.name for each in endpoint.parameters}
    sent = read_parameters(query, None if spot else known)
    if spot and (unknown := len(sent.keys() - known)):
        raise refusals.unknown_parameters(len(sent) - unknown, len(sent))
    for each in endpoint.parameters:
        if each.required and each.name not in sent:
            raise refusals.missing(each.name)
    chosen = [each for each in endpoint.exclusive if each in sent]
    if len(chosen) > 1:
        raise refusals.combination()
    if endpoint.one_required and not chosen:
        raise refusals.one_of(endpoint.exclusive)
    named: tuple[str, ...] = ()
    values: list[tuple[str, str]] = []
    for each in endpoint.parameters:
        if each.name not in sent:
            continue
        if each.kind is ParameterKind.SYMBOLS:
            named = _symbols(each, sent[each.name])
            values.append((each.name, msgspec.json.encode(named).decode()))
            continue
        value = _value(each, sent[each.name], spot=spot)
        if each.kind is ParameterKind.SYMBOL:
            named = (value,)
        if value != each.default or not each.omits_default:
            values.append((each.name, value))
    micros = spot and wants_micros(time_unit)
    return SnapshotQuestion(endpoint, tuple(values), named, micros)


def parse_forwarded(endpoint: Endpoint, query: str) -> SnapshotQuestion:
    """Return a question to a path that is in no table: as sent, with its parameters sorted."""
    return SnapshotQuestion(endpoint, tuple(sorted(read_parameters(query, None).items())))


def _value(parameter: Parameter, value: str, *, spot: bool) -> str:
    match parameter.kind:
        case ParameterKind.SYMBOL | ParameterKind.PAIR:
            return symbol_name(value, parameter.name, spot=spot)
        case ParameterKind.NUMBER:
            return str(whole_number(parameter.name, value))
        case ParameterKind.LIMIT:
            return _limit(parameter, value, spot=spot)
        case ParameterKind.ZONE:
            minutes = zone_minutes(value)
            hours, rest = divmod(abs(minutes), 60)
            return f"{'-' if minutes < 0 else ''}{hours}" + (f":{rest:02d}" if rest else "")
        case ParameterKind.CHOICE:
            if value not in parameter.choices:
                raise refusals.bad_choice(parameter.name)
            return value
        case ParameterKind.TEXT | ParameterKind.SYMBOLS:
            return value


def _limit(parameter: Parameter, value: str, *, spot: bool) -> str:
    limit = whole_number(parameter.name, value)
    if limit == 0:
        raise refusals.invalid(parameter.name)
    if limit > parameter.maximum:
        if not spot:  # -1130 over 1000 for depth and aggTrades: measured 2026
            raise refusals.invalid(parameter.name)
        limit = parameter.maximum  # truncated: rest-api.md says so of depth
    if parameter.choices and str(limit) not in parameter.choices:
        raise refusals.bad_depth_limit(value)
    return str(limit)


def _symbols(parameter: Parameter, value: str) -> tuple[str, ...]:
    try:
        found = _names_decoder.decode(value)
    except UNDECODABLE:
        raise refusals.bad_json(parameter.name) from None
    if not found:
        raise refusals.bad_json(parameter.name)
    if len(found) > (parameter.maximum or _MAX_SYMBOLS):
        raise refusals.too_great(parameter.name, parameter.maximum or _MAX_SYMBOLS)
    if len(set(found)) < len(found):
        raise refusals.repeated_symbol()
    return tuple(symbol_name(each, parameter.name, spot=True) for each in found)
