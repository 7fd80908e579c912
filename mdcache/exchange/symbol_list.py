"""Cut an `exchangeInfo` at its values and at the entries of its list of symbols. Pure.

Decoding holds the interpreter, 10 ms for a list of 20 MB, and the event loop waits for a thread that does it. So a long
list is decoded in slices. Each must be a valid list by itself, and the rest a valid object without the list: then the
whole is one, with these entries.
"""

import json
import re
from typing import NamedTuple

import msgspec

from mdcache.background_work import give_way
from mdcache.exchange.undecodable import UNDECODABLE

SYMBOLS = "symbols"
_OPENING = b'"symbols":['
_NEXT_ENTRY = b'},{"symbol":'  # as Binance prints them; a list that is printed otherwise is decoded at once
_SLICE_BYTES = 1 << 16
_KEY = re.compile(rb'[{,\s]*"(?:[^"\\]|\\.)*"\s*:\s*', re.DOTALL)  # before the next value of a valid object
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_scanner = json.JSONDecoder()

Spans = dict[str, tuple[int, int]]


class CutBody(NamedTuple):
    """Where each value of the body begins and ends, and the entries of its list of symbols."""

    spans: Spans
    entries: list[msgspec.Raw]


def cut_body(body: bytes) -> CutBody:
    """Cut a body; raise one of `UNDECODABLE` if it is no object with a list of symbols."""
    if len(body) > _SLICE_BYTES and (found := _cut_in_slices(body)) is not None:
        return found
    spans = value_spans(body)
    start, end = spans.get(SYMBOLS, (0, 0))
    return CutBody(spans, _list_decoder.decode(body[start:end]))


def list_entries(text: bytes) -> list[msgspec.Raw]:
    """Return the entries of a valid list, such as that of the symbols."""
    try:
        return _entries_from(text, 1)[0]
    except (ValueError, *UNDECODABLE):
        return _list_decoder.decode(text)


def value_spans(text: bytes) -> Spans:
    """Return where the value of each name of a JSON object begins and ends, in the object's order."""
    spans = {}
    at = 0
    for name, value in _object_decoder.decode(text).items():
        key = _KEY.match(text, at)
        start = key.end() if key else at
        at = start + len(value)
        if text[start:at] != bytes(value):
            raise msgspec.ValidationError(f"{name} is there twice")
        spans[name] = (start, at)
    return spans


def _cut_in_slices(body: bytes) -> CutBody | None:
    """Return `None` if the body is printed in another way than Binance's, or broken."""
    start = body.find(_OPENING) + len(_OPENING)
    try:
        entries, end = _entries_from(body, start)
        spans = value_spans(body[:start] + body[end:])
    except (ValueError, *UNDECODABLE):
        return None
    if spans.get(SYMBOLS) != (start - 1, start + 1):  # it was another list, or text
        return None
    more = end - start
    return CutBody({name: (a + more * (a >= start), b + more * (b > start)) for name, (a, b) in spans.items()}, entries)


def _entries_from(text: bytes, start: int) -> tuple[list[msgspec.Raw], int]:
    """Return the entries of the list whose first begins at `start`, and where the last one ends."""
    entries: list[msgspec.Raw] = []
    while (brace := text.find(_NEXT_ENTRY, start + _SLICE_BYTES)) >= 0:
        entries += _list_decoder.decode(b"[%b]" % text[start : brace + 1])
        start = brace + 2
        give_way()
    rest = "[" + text[start:].decode()
    _, after = _scanner.raw_decode(rest)
    end = start + len(rest[1 : after - 1].encode())
    return entries + _list_decoder.decode(b"[%b]" % text[start:end]), end
