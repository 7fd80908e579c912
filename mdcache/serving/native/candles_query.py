"""Parse the query of `/v1/candles`, or raise a refusal that says what would be right."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mdcache.errors import Refusal
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.parameters import read_parameters
from mdcache.serving.binance.request import accepted_weights
from mdcache.serving.native import arrow_tables
from mdcache.serving.native.stream_query import SERIES_PARAMETERS, SeriesChoice, parse_flag, parse_series

MAX_ROWS = 1_000_000
MAX_WAIT_S = 60.0
DEFAULT_LIMIT = 500
_KNOWN = SERIES_PARAMETERS | {"limit", "start", "end", "closed", "since", "wait", "format", "partial"}
_NOT_ACCEPTABLE = (406, -1155)
MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "arrow": arrow_tables.MEDIA_TYPE}  # the first is default
_LEAST_MS = 10**11  # 1973; a smaller number is one of seconds
_MOST_MS = 10**14
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows of each series: the newest `limit` until a moment, or those that open between two.

    `end_ms`: `None` is now.
    """

    limit: int = 0
    start_ms: int | None = None
    end_ms: int | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True)
class CandlesQuery:
    """What is asked for. `since`, `wait_s`: answer when something differs from the answer that carried the token.

    `format`: empty if the query does not say. `partial`: a table leaves out series that can't be answered.
    """

    choice: SeriesChoice
    span: Span
    since: str
    wait_s: float
    format: str
    partial: bool


def parse_candles_query(query: str) -> CandlesQuery:
    """Return what a raw query asks for. Raise `Refusal`."""
    sent = read_parameters(query, None)
    choice = parse_series(sent, _KNOWN)
    wait_s = _wait_s(sent)
    if wait_s and "since" not in sent:
        raise _refusal("'wait' needs 'since': the token of an earlier answer to the same question.")
    if sent.get("format", "json") not in MEDIA_TYPES:
        raise _refusal("'format' must be json, csv or arrow.")
    return CandlesQuery(
        choice, _span(sent), sent.get("since", ""), wait_s, sent.get("format", ""), parse_flag(sent, "partial")
    )


def chosen_form(query: CandlesQuery, path: str, accept: bytes, *, arrow: bool) -> str:
    """Return the form that the query or the path names, or `Accept` prefers.

    Args:
        query: The parsed query.
        path: The request's path.
        accept: Its `Accept`.
        arrow: Whether Arrow can be served.

    Raises:
        Refusal: It can't be served, or none that can be served is accepted.
    """
    named = query.format or path.rpartition("/candles")[2].removeprefix(".")
    if named == "arrow" and not arrow:
        raise Refusal(*_NOT_ACCEPTABLE, arrow_tables.HINT)
    weights = accepted_weights(accept)
    if named or not any(weights):
        return named or next(iter(MEDIA_TYPES))

    def weight(form: str) -> float:
        media_type = MEDIA_TYPES[form]
        ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0.0)

    served = [form for form in MEDIA_TYPES if arrow or form != "arrow"]
    best = max(served, key=weight)
    if not weight(best):
        hint = "" if arrow else " " + arrow_tables.HINT
        raise Refusal(*_NOT_ACCEPTABLE, f"Served here are {', '.join(MEDIA_TYPES[form] for form in served)}.{hint}")
    return best


def check_rows(query: CandlesQuery, now_ms: int) -> None:
    """Raise `Refusal` if there may be more rows than one question is answered with."""
    span, symbols = query.span, len(query.choice.symbols)
    rows = span.limit * len(query.choice.intervals)
    if span.start_ms is not None:
        end_ms = now_ms if span.end_ms is None else min(span.end_ms, now_ms)
        rows = sum(INTERVALS[name].count(span.start_ms, end_ms) for name in query.choice.intervals)
    if rows * symbols > MAX_ROWS:
        raise _refusal(f"That may be {rows * symbols} rows: ask for at most {MAX_ROWS} at once.")


def parse_time(name: str, value: str) -> int:
    """Return a moment in milliseconds, given as such or as RFC 3339. Raise `Refusal`."""
    if _DIGITS.fullmatch(value):
        number = int(value)
        if number < _LEAST_MS:
            raise _refusal(f"'{name}' is in milliseconds, or RFC 3339: {value} seconds would be {value}000.")
        if number >= _MOST_MS:
            raise _refusal(f"'{name}' is in milliseconds, not micro- or nanoseconds.")
        return number
    try:
        moment = datetime.fromisoformat(value.replace(" ", "+"))  # a plus that was not escaped
        found_ms = round((moment - _EPOCH).total_seconds() * 1000)
    except (ValueError, TypeError, OverflowError):  # not a moment, or one without a zone
        found_ms = -1
    if found_ms < 0:
        raise _refusal(f"'{name}' must be milliseconds, or RFC 3339 with a zone, such as 2026-11-04T12:00:00Z.")
    return found_ms


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _span(sent: Mapping[str, str]) -> Span:
    closed = parse_flag(sent, "closed")
    end_ms = parse_time("end", sent["end"]) if "end" in sent else None
    if "start" not in sent:
        if end_ms is not None and "limit" not in sent:
            raise _refusal("'end' needs 'start', or 'limit', which counts back from it.")
        limit = sent.get("limit", str(DEFAULT_LIMIT))
        if not _DIGITS.fullmatch(limit) or not 1 <= int(limit) <= MAX_ROWS:
            raise _refusal(f"'limit', the rows of each series, must be a whole number from 1 to {MAX_ROWS}.")
        return Span(limit=int(limit), end_ms=end_ms, closed=closed)
    if "limit" in sent:
        raise _refusal("Send either 'limit' (the newest rows of each series), or 'start'; 'end' goes with both.")
    start_ms = parse_time("start", sent["start"])
    if end_ms is not None and end_ms < start_ms:
        raise _refusal("'end' is before 'start'.")
    return Span(start_ms=start_ms, end_ms=end_ms, closed=closed)


def _wait_s(sent: Mapping[str, str]) -> float:
    value = sent.get("wait", "0")
    if not _SECONDS.fullmatch(value) or float(value) > MAX_WAIT_S:
        raise _refusal(f"'wait' must be seconds, from 0 to {MAX_WAIT_S:g}.")
    return float(value)


def _refusal(msg: str) -> Refusal:
    return Refusal(400, -1130, msg)
