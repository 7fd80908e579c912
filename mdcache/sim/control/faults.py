"""The kinds of injected faults, and how each changes a valid body.

Pure: `actions.py` decides which request has which fault.
"""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

EdgeFault = Literal["403", "451"]  # answered before Binance's counters see the request
StatusFault = Literal["429", "418", "500", "503"]
TransportFault = Literal["timeout", "drop", "truncate"]
BodyFault = Literal["html", "garbage_gzip", "gzip_bomb", "huge"]  # any body
RowsFault = Literal[  # only lists of klines; of other lists, those in LISTS_FAULTS; other bodies are unchanged
    "object", "columns", "more_columns", "numbers", "nan", "crossed", "outside", "disorder", "doubled", "empty",
    "interval",
]  # fmt: skip
EDGE_FAULTS: frozenset[str] = frozenset(get_args(EdgeFault))
STATUS_FAULTS: frozenset[str] = frozenset(get_args(StatusFault))
TRANSPORT_FAULTS: frozenset[str] = frozenset(get_args(TransportFault))
BODY_FAULTS: frozenset[str] = frozenset(get_args(BodyFault))
ROWS_FAULTS: frozenset[str] = frozenset(get_args(RowsFault))
LISTS_FAULTS: frozenset[str] = frozenset({"object", "disorder", "doubled", "empty"})  # of any list
FAULT_KINDS = EDGE_FAULTS | STATUS_FAULTS | TRANSPORT_FAULTS | BODY_FAULTS | ROWS_FAULTS

HTML_TYPE = "text/html"
_NOT_JSON = b"<html><head><title>Maintenance</title></head><body><h1>We will be back soon</h1></body></html>"
_GARBAGE_GZIP = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 400  # a good header, then an invalid block type
_GZIPPED = (("Content-Encoding", "gzip"),)
_MEGABYTE = 1_000_000
_SHIFT_MS = 10_000 * 86_400_000  # to a time when there was nothing to trade

Spoilt = tuple[bytes, str | None, tuple[tuple[str, str], ...]]  # body, content type if another, more headers


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """One fault for requests whose path starts with `path` and whose query contains `contains`.

    `count`: how many requests get it (`None`: until cleared); `probability`: that a request gets it.
    `retry_after_s`: sent with 429 and 418 (`None`: no such header). `size`: bytes, for huge and gzip_bomb.
    """

    kind: str
    count: int | None = None
    probability: float = 1.0
    path: str = ""
    contains: str = ""
    retry_after_s: int | None = None
    size: int = 200 * _MEGABYTE

    def __post_init__(self) -> None:
        """Refuse a fault that no request could get."""
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"no such fault: {self.kind!r}; there are: {', '.join(sorted(FAULT_KINDS))}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a probability lies in 0..1, not {self.probability}")

    def matches(self, path: str, query: str) -> bool:
        """Return whether the request matches."""
        return path.startswith(self.path) and self.contains in query


def spoil(fault: InjectedFault, body: bytes, other: Callable[[], bytes] | None) -> Spoilt:
    """Apply the fault to a good body; transport faults leave it unchanged.

    Args:
        fault: The fault.
        body: The good body.
        other: Returns the rows of another interval; `None` if the body is not a list of rows.
    """
    match fault.kind:
        case "html":
            return _NOT_JSON, HTML_TYPE, ()
        case "huge":
            return _huge(fault.size), None, ()
        case "gzip_bomb":
            return _gzip_bomb(fault.size), None, _GZIPPED
        case "garbage_gzip":
            return _GARBAGE_GZIP, None, _GZIPPED
        case "interval" if other is not None:
            return other(), None, ()
        case kind if kind in LISTS_FAULTS or (kind in ROWS_FAULTS and other is not None):
            rows = json.loads(body)
            if isinstance(rows, list):
                body = json.dumps(_spoilt(kind, rows), separators=(",", ":"), ensure_ascii=False).encode()
    return body, None, ()


@lru_cache(maxsize=1)
def _huge(size: int) -> bytes:
    """Return a JSON body of `size` bytes."""
    return b"[" + b" " * (size - 2) + b"]"


@lru_cache(maxsize=1)
def _gzip_bomb(size: int) -> bytes:
    """Return a small gzip body that inflates to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    piece = b" " * _MEGABYTE
    packed = [packer.compress(piece) for _ in range(size // _MEGABYTE)]
    return b"".join((*packed, packer.flush()))


def _spoilt(kind: str, rows: list[list[object]]) -> object:
    match kind:
        case "object":
            return {"code": 0, "data": rows}
        case "columns":
            return [row[:11] for row in rows]
        case "more_columns":
            return [[*row, "0"] for row in rows]
        case "numbers":
            return [[row[0], *(float(str(price)) for price in row[1:5]), *row[5:]] for row in rows]
        case "nan":
            return [[*row[:4], "NaN", *row[5:]] for row in rows]
        case "crossed":
            return [[*row[:2], row[3], f"{float(str(row[2])) + 1:.8f}", *row[4:]] for row in rows]
        case "outside":
            return [_shifted(row) for row in rows[:1]] + rows[1:]
        case "disorder":
            return rows[::-1]
        case "doubled":
            return [*rows[:1], *rows]
        case _:
            return []


def _shifted(row: list[object]) -> list[object]:
    return [int(str(row[0])) - _SHIFT_MS, *row[1:6], int(str(row[6])) - _SHIFT_MS, *row[7:]]
