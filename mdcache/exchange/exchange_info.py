"""`exchangeInfo` as a document from which answers are cut: the whole list, or the symbols that a question names.

Source: docs/binance.md#exchange-info.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange import refusals
from mdcache.exchange.endpoints import Endpoint, FlatWeight, Parameter, ParameterKind
from mdcache.exchange.markets import Market
from mdcache.exchange.parameters import read_parameters, symbol_name, wants_micros
from mdcache.exchange.symbol_list import SYMBOLS, cut_body, list_entries, value_spans
from mdcache.exchange.undecodable import UNDECODABLE, read_text

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


class _Entry(msgspec.Struct):
    """An entry of the list. Any field may be of another type than Binance documents: docs/design.md#odd-entries."""

    symbol: msgspec.Raw = msgspec.Raw(b"null")
    status: msgspec.Raw = msgspec.Raw(b"null")
    permission_sets: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"[]"), name="permissionSets")  # 150 words
    permissions: msgspec.Raw = msgspec.Raw(b"[]")


@dataclass(frozen=True, slots=True)
class _Listed:
    """What an entry says: each field is read by itself, and empty if it is odd."""

    symbol: str
    status: str
    permissions: frozenset[str]
    permission_sets: msgspec.Raw


_entry_decoder = msgspec.json.Decoder(_Entry)
_any_decoder = msgspec.json.Decoder(Any)
_words_decoder = msgspec.json.Decoder(list[str])
_TIME = "serverTime"


class ExchangeInfoDocument:
    """One `exchangeInfo` body, cut at its clock and its symbols. Raises `InvalidBody` if it is something else."""

    def __init__(self, body: bytes) -> None:
        try:
            spans = cut_body(body).spans
        except UNDECODABLE as error:
            raise InvalidBody(BodyFault.NOT_EXCHANGE_INFO, type(error).__name__) from error
        start, end = spans[SYMBOLS]
        self._symbols = body[start:end]
        self._texts: list[tuple[bytes, str]] = []  # with the name of the value after each
        at = 0
        for name in (name for name in spans if name in {_TIME, SYMBOLS}):  # in the body's order
            self._texts.append((body[at : spans[name][0]], name))
            at = spans[name][1]
        self._rest = body[at:]
        self._entries: list[tuple[_Listed, bytes]] | None = None
        self._permissions_by_sets: dict[bytes, frozenset[str]] = {}

    @property
    def nbytes(self) -> int:
        """Its size in memory, in bytes, without the index of its symbols."""
        return len(self._symbols) + sum(len(text) for text, _ in self._texts) + len(self._rest)

    def is_ready_for(self, selection: SymbolSelection) -> bool:
        """Return whether `body` has what it needs: for single symbols, the index."""
        return selection.selects_all or self._entries is not None

    def build_index(self) -> None:
        """Build the index of single symbols, which takes as long as parsing the document; a thread may do it."""
        self._index()

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
        values = {_TIME: b"%d" % time, SYMBOLS: symbols}
        parts = [part for text, name in self._texts for part in (text, values[name])]
        return b"".join([*parts, self._rest])

    def _index(self) -> list[tuple[_Listed, bytes]]:
        """Return the index of single symbols, which the first question that names some builds."""
        if self._entries is None:
            self._entries = [(_read_entry(raw), bytes(raw)) for raw in list_entries(self._symbols)]
        return self._entries

    def _is_selected(self, entry: _Listed, names: frozenset[str], selection: SymbolSelection) -> bool:
        if names and entry.symbol not in names:
            return False
        if selection.status and entry.status != selection.status:
            return False
        if not selection.permissions or not selection.permissions.isdisjoint(entry.permissions):
            return True
        return not selection.permissions.isdisjoint(self._permissions_of(bytes(entry.permission_sets)))

    def _permissions_of(self, sets: bytes) -> frozenset[str]:
        if sets not in self._permissions_by_sets:
            self._permissions_by_sets[sets] = frozenset(word for words in _decode_list(sets) for word in _words(words))
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
    except UNDECODABLE:
        found = []
    if not found:
        raise refusals.bad_json(parameter)
    return found


def _read_entry(raw: msgspec.Raw) -> _Listed:
    try:
        entry = _entry_decoder.decode(raw)
    except UNDECODABLE:
        entry = _Entry()
    return _Listed(
        read_text(entry.symbol),
        read_text(entry.status),
        frozenset(_words(_decode_list(entry.permissions))),
        entry.permission_sets,
    )


def _decode_list(text: bytes | msgspec.Raw) -> list[object]:
    try:
        found = _any_decoder.decode(text)
    except UNDECODABLE:
        return []
    return found if isinstance(found, list) else []


def _words(value: object) -> list[str]:
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _without_permission_sets(entry: bytes) -> bytes:
    """Return a symbol as Binance prints it with permission sets hidden: as an empty list."""
    start, end = value_spans(entry).get("permissionSets", (0, 0))
    return entry[:start] + b"[]" + entry[end:] if end else entry
