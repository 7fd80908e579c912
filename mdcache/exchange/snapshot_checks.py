"""Check that the body of a 200 answers the question that was asked (docs/design.md#body-checks). Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from mdcache.errors import BodyFault, InvalidBody
from mdcache.exchange.snapshots import SnapshotQuestion
from mdcache.exchange.undecodable import UNDECODABLE

_json = msgspec.json.Decoder(msgspec.Raw)
_elements_decoder = msgspec.json.Decoder(list[msgspec.Raw])


class _Element(msgspec.Struct):
    """An object of a reply. Any field may be of another type than Binance documents: docs/design.md#odd-entries."""

    symbol: Any = ""
    code: Any = 0


_element_decoder = msgspec.json.Decoder(_Element)


def check_body(snapshot: SnapshotQuestion, body: bytes) -> None:
    """Raise `InvalidBody` if a 200's body is not JSON, is an error, or is about something else."""
    try:
        body.decode()
        _json.decode(body)
        if body[:1] == b"{":
            _check_one(snapshot, _element_decoder.decode(body))
        elif body[:1] == b"[":
            _check_list(snapshot, body)
        else:
            raise InvalidBody(BodyFault.NOT_JSON, "neither object nor list")
    except UnicodeDecodeError as error:
        raise InvalidBody(BodyFault.ENCODING, snapshot.endpoint.path) from error
    except UNDECODABLE as error:
        raise InvalidBody(BodyFault.NOT_JSON, snapshot.endpoint.path) from error


def elements_by_symbol(body: bytes) -> dict[str, bytes]:
    """Return the elements of a list that name a symbol, and those without one as ``""``; the others are left out."""
    return {symbol: bytes(raw) for symbol, raw in _named_elements(body)}


def _named_elements(body: bytes) -> Iterator[tuple[str, msgspec.Raw]]:
    for raw in _elements_decoder.decode(body):
        try:
            symbol = _element_decoder.decode(raw).symbol
        except UNDECODABLE:
            continue
        if isinstance(symbol, str):
            yield symbol, raw


def _check_one(snapshot: SnapshotQuestion, element: _Element) -> None:
    if isinstance(element.code, int) and element.code < 0:
        raise InvalidBody(BodyFault.MISMATCH, f"an error with status 200: {element.code}")
    if not snapshot.endpoint.lists_elements:
        return
    if snapshot.list_question() is None or snapshot.value("symbols") or snapshot.endpoint.single_as_list:
        raise InvalidBody(BodyFault.NOT_A_LIST, snapshot.endpoint.path)
    if element.symbol != snapshot.value("symbol"):
        raise InvalidBody(BodyFault.MISMATCH, f"{snapshot.endpoint.path} of another symbol")


def _check_list(snapshot: SnapshotQuestion, body: bytes) -> None:
    if not snapshot.endpoint.lists_elements:
        return
    if snapshot.value("symbol") and not snapshot.endpoint.single_as_list:
        raise InvalidBody(BodyFault.TYPES, f"{snapshot.endpoint.path}: a list for one symbol")
    names = [symbol for symbol, _ in _named_elements(body)]
    symbols = set(names)
    if len(names) - names.count("") > len(symbols - {""}):
        raise InvalidBody(BodyFault.MISMATCH, f"{snapshot.endpoint.path} with a symbol twice")
    asked = set(snapshot.symbols)
    if snapshot.value("symbolStatus"):  # leaves out symbols with another status
        asked &= symbols
    if snapshot.symbols and symbols != asked:
        raise InvalidBody(BodyFault.MISMATCH, f"{snapshot.endpoint.path} of other symbols")
    if not snapshot.symbols and not snapshot.value("pair") and not symbols and not snapshot.value("symbolStatus"):
        raise InvalidBody(BodyFault.EMPTY, snapshot.endpoint.path)
