"""`exchangeInfo` as a document from which answers are cut: the whole list, or the symbols that a question names.

Source: docs/binance.md#exchange-info.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange import refusals
from mdcache.exchange.endpoints import Endpoint, FlatWeight, Parameter, ParameterKind
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name, wants_micros

_FLAGS = ("true", "false")
_STATUSES = ("TRADING", "HALT", "BREAK")
_PERMISSION = re.compile(r"[A-Z0-9_]{1,50}")  # enums.md, Account and Symbol Permissions
_DEFAULT_PERMISSIONS = frozenset({"SPOT", "MARGIN", "LEVERAGED"})  # rest-api.md: the default of `permissions`

# Answered from these documents, so not among the snapshots; listed for the tables that show every path.
EXCHANGE_INFO_ENDPOINTS = (
    Endpoint(
        Market.SPOT,
        "/api/v3/exchangeInfo",
        FlatWeight(20),
        (
            Parameter("symbol", ParameterKind.SYMBOL),
            Parameter("symbols", ParameterKind.SYMBOLS),
            Parameter("permissions", ParameterKind.TEXT),
            Parameter("showPermissionSets", ParameterKind.CHOICE, default="true", choices=_FLAGS),
            Parameter("symbolStatus", ParameterKind.CHOICE, choices=_STATUSES),
        ),
        exclusive=("symbol", "symbols", "permissions"),
    ),
    Endpoint(Market.USDM, "/fapi/v1/exchangeInfo", FlatWeight(1)),
    Endpoint(Market.COINM, "/dapi/v1/exchangeInfo", FlatWeight(1)),
)


@dataclass(frozen=True, slots=True)
class SymbolSelection:
    """The symbols a question selects (empty: all), with or without permission sets, and its time unit."""

    names: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    status: str = ""
    permission_sets: bool = True
    micros: bool = False

    @property
    def selects_all(self) -> bool:
        """Whether it selects the whole list."""
        return not (self.names or self.permissions or self.status)

    @property
    def hides_permission_sets(self) -> bool:
        """Whether it selects by permission but hides permission sets, which are then needed to answer."""
        return bool(self.permissions) and not self.permission_sets

    @property
    def exceeds_default(self) -> bool:
        """Whether it selects symbols that the plain list leaves out: those with other permissions only."""
        return not self.permissions <= _DEFAULT_PERMISSIONS


class _ListedSymbol(msgspec.Struct):
    symbol: str
    status: str = ""
    permissionSets: msgspec.Raw = msgspec.Raw(b"[]")  # noqa: N815  Binance's name; 150 words, nearly the same for all symbols
    permissions: list[str] = []


_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_symbol_decoder = msgspec.json.Decoder(_ListedSymbol)
_words_decoder = msgspec.json.Decoder(list[str])
_permission_sets_decoder = msgspec.json.Decoder(list[list[str]])


class ExchangeInfoDocument:
    """One `exchangeInfo` body, split at its clock and its symbols. Raises `InvalidBody` if it is something else."""

    def __init__(self, body: bytes) -> None:
        try:
            parts = _object_decoder.decode(body)
            symbols = parts["symbols"]
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
            raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, type(error).__name__) from error
        self._symbols = bytes(symbols)
        self._before, self._between, self._after = _split([(key, bytes(raw)) for key, raw in parts.items()])
        self._entries: list[tuple[_ListedSymbol, msgspec.Raw]] | None = None
        self._permissions_by_sets: dict[bytes, frozenset[str]] = {}

    @property
    def nbytes(self) -> int:
        """Its size in memory, in bytes, without the index of its symbols."""
        return len(self._symbols) + len(self._before) + len(self._between) + len(self._after)

    def contains(self, names: Iterable[str]) -> bool:
        """Return whether it lists all of these symbols."""
        return {entry.symbol for entry, _ in self._index()}.issuperset(names)

    def body(self, time_ms: int, selection: SymbolSelection) -> bytes:
        """Return the answer to `selection` at exchange time `time_ms`; raise Binance's refusal of an unlisted name."""
        symbols, time = self._symbols, time_ms * 1000 if selection.micros else time_ms
        if not selection.selects_all:
            names = frozenset(selection.names)
            chosen = [raw for entry, raw in self._index() if self._is_selected(entry, names, selection)]
            if len(chosen) < len(names):
                raise refusals.bad_symbol()
            symbols = b"[%b]" % b",".join(
                map(_without_permission_sets, chosen) if selection.hides_permission_sets else chosen
            )
        return b"%b%d%b%b%b" % (self._before, time, self._between, symbols, self._after)

    def _index(self) -> list[tuple[_ListedSymbol, msgspec.Raw]]:
        """Return the index of single symbols, which the first question that names some builds."""
        if self._entries is None:
            try:
                entries = [(_symbol_decoder.decode(raw), raw) for raw in _list_decoder.decode(self._symbols)]
                for entry, _ in entries:
                    self._permissions_of(bytes(entry.permissionSets))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, type(error).__name__) from error
            self._entries = entries
        return self._entries

    def _is_selected(self, entry: _ListedSymbol, names: frozenset[str], selection: SymbolSelection) -> bool:
        if names and entry.symbol not in names:
            return False
        if selection.status and entry.status != selection.status:
            return False
        if not selection.permissions or not selection.permissions.isdisjoint(entry.permissions):
            return True
        return not selection.permissions.isdisjoint(self._permissions_of(bytes(entry.permissionSets)))

    def _permissions_of(self, sets: bytes) -> frozenset[str]:
        if sets not in self._permissions_by_sets:
            self._permissions_by_sets[sets] = frozenset(
                word for each in _permission_sets_decoder.decode(sets) for word in each
            )
        return self._permissions_by_sets[sets]


def parse_selection(query: str, time_unit: str | None) -> SymbolSelection:
    """Return what a question to spot's `exchangeInfo` selects, or raise the `Refusal` Binance would give."""
    endpoint = EXCHANGE_INFO_ENDPOINTS[0]
    known = {each.name for each in endpoint.parameters}
    sent = read_parameters(query, None)
    if unknown := len(sent.keys() - known):
        raise refusals.unknown_parameters(len(sent) - unknown, len(sent))
    chosen = [each for each in endpoint.exclusive if each in sent]
    if len(chosen) > 1 or ("symbolStatus" in sent and chosen and chosen != ["permissions"]):
        raise refusals.combination()
    sets = sent.get("showPermissionSets", "true").lower()
    if sets not in _FLAGS:
        raise refusals.bad_choice("showPermissionSets")
    status = sent.get("symbolStatus", "")
    if status and status not in _STATUSES:
        raise refusals.bad_choice("symbolStatus")
    names = _parse_words(sent["symbols"], "symbols") if "symbols" in sent else []
    if len(set(names)) < len(names):
        raise refusals.repeated_symbol()
    if "symbol" in sent:
        names = [sent["symbol"]]
    permissions = _parse_permissions(sent["permissions"]) if "permissions" in sent else frozenset()
    listed = tuple(symbol_name(each, chosen[0], spot=True) for each in names)
    return SymbolSelection(listed, permissions, status, sets == "true", wants_micros(time_unit))


def _parse_permissions(value: str) -> frozenset[str]:
    found = frozenset(_parse_words(value, "permissions") if value.startswith("[") else [value])
    if not all(_PERMISSION.fullmatch(each) for each in found):
        raise refusals.invalid("permissions")
    return found


def _parse_words(value: str, parameter: str) -> list[str]:
    try:
        found = _words_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeError):
        found = []
    if not found:
        raise refusals.bad_json(parameter)
    return found


def _without_permission_sets(raw: msgspec.Raw) -> bytes:
    """Return a symbol as Binance prints it with permission sets hidden: as an empty list."""
    fields = _object_decoder.decode(raw)
    shown = {key: b"[]" if key == "permissionSets" else bytes(value) for key, value in fields.items()}
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), value) for key, value in shown.items())


def _split(fields: list[tuple[str, bytes]]) -> tuple[bytes, bytes, bytes]:
    """Return the bytes before `serverTime`'s value, from there to the list of symbols, and after it."""
    order = [key for key, _ in fields]
    if "serverTime" not in order or order.index("serverTime") > order.index("symbols"):
        raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, "no serverTime before the symbols")
    pieces = [b"", b"", b""]
    at = 0
    for index, (key, raw) in enumerate(fields):
        pieces[at] += b'%b"%b":' % (b"," if index else b"{", key.encode())
        if key in {"serverTime", "symbols"}:
            at += 1
        else:
            pieces[at] += raw
    pieces[2] += b"}"
    return pieces[0], pieces[1], pieces[2]
