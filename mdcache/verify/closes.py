"""Assumptions about closes: when a candle is final, by REST and by streams, and whether both say the same."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple

import msgspec

from mdcache.exchange.markets import Market
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.verify.assumption import FREE, Assumption
from mdcache.verify.exchange_time import MINUTE_MS
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.session import ClosePoll, MarketSession

# Seconds after the first and after the second close at which the closed candle is read.
POLLS_S: Mapping[Market, tuple[tuple[float, ...], tuple[float, ...]]] = {
    Market.SPOT: ((1.0, 2.6, 8.0), (0.4, 2.6)),
    Market.USDM: ((1.0, 2.0, 2.6, 8.0), (0.5, 1.5, 2.6)),
    Market.COINM: ((1.0, 2.6, 8.0), (0.5, 2.6)),
}
LAST_POLL_MS = 2_600
_ROWS = 3
_FEW = 2  # reads of a close, at least
_LATE_MS = 400  # how late a read of a close may be; the pauses between them are a little longer
_COLUMNS = 11  # of the twelve; the last one says nothing
_FROM_STREAM = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")


class KlineFrame(NamedTuple):
    """A frame of a kline topic. `row`: the candle as REST prints it, without the last column."""

    event_ms: int
    open_ms: int
    final: bool
    trades: int
    last_trade: int
    row: tuple[Any, ...]


def topic(session: MarketSession, symbol: str = "", interval: str = "1m") -> str:
    """Return the kline topic of a symbol, by default the session's."""
    return f"{(symbol or session.symbol).lower()}@kline_{interval}"


def kline_frames(session: MarketSession, name: str) -> list[KlineFrame]:
    """Return the readable frames of a kline topic, in the order in which they came."""
    found = [_read(frame.data) for frame in session.recording.frames.get(name, ())]
    return [frame for frame in found if frame is not None]


async def watch_close(session: MarketSession, number: int) -> None:
    """Read the candle that closes at the first or the second close, several times after it."""
    close_ms = session.closes_ms[number]
    for after_s in POLLS_S[session.market][number]:
        await session.time.sleep_until(close_ms + after_s * 1000)
        with suppress(NotMeasured):  # the other reads may be enough
            reply = await session.klines({"limit": _ROWS}, at_close=True)
            rows = {row[0]: tuple(row[:_COLUMNS]) for row in reply.rows()}
            late_ms = reply.sent_ms - close_ms - after_s * 1000
            for each in session.closes_ms[: number + 1]:
                session.polls.append(ClosePoll(each, reply.sent_ms - each, late_ms, rows.get(each - MINUTE_MS)))


class FinalRows(Assumption):
    """When a closed candle's row is final."""

    facts = ("final_row_lag_ms",)
    assumed = "3 s after its close, a candle's row does not change any more."
    how = "Read the closed candle several times after each of two closes, and the first one once more after the second."
    follows = "`serve` waits longer before it keeps a row for ever (SETTLE_S, CONFIRM_S)."
    costs: ClassVar[Mapping[Market, int]] = {
        market: sum(map(len, polls)) * (2 if market is Market.SPOT else 1) for market, polls in POLLS_S.items()
    }
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Find the first read after which each row stayed as it was."""
        if any(poll.late_ms > _LATE_MS for poll in session.polls):
            raise NotMeasured("the network is too slow to read a close in time")
        return {"final_row_lag_ms": max(_lag_ms(session, close_ms) for close_ms in _closes(session))}


class FinalFrames(Assumption):
    """When a candle's final frame comes."""

    facts = ("final_frame_lag_ms",)
    assumed = "The final frame (`x` true) comes 0.2 s after the close on spot, and 2 s on futures."
    how = "Compare the event times of the final frames of two closes with the closes."
    follows = "Listeners get closed candles later; `serve` reads a close whose frame does not come in time."
    costs = FREE
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Look at the final frames of both closes."""
        finals = _finals(session)
        lags = [frame.event_ms - close_ms for close_ms in _closes(session) if (frame := finals.get(close_ms))]
        if not lags:
            raise NotMeasured("no final frame came")
        return {"final_frame_lag_ms": max(0, *lags)}


class FramesAndRows(Assumption):
    """Whether streams and REST show the same candle."""

    facts = ("frames_equal_rows",)
    assumed = "The candle of the final frame is the row that REST prints, digit for digit."
    how = "Compare both for two closes."
    follows = "Rows of streams could not be kept without a read of each."
    costs = FREE
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Compare them at each close of which both came."""
        finals = _finals(session)
        settled_ms = _lag_ms(session, _closes(session)[0])  # the first close was read once more, a minute later
        last = {poll.close_ms: poll.row for poll in session.polls if poll.row and poll.after_ms >= settled_ms}
        both = [(finals[close_ms].row, last[close_ms]) for close_ms in finals.keys() & last.keys()]
        if not both:
            raise NotMeasured("there was no close with a final frame and a row")
        return {"frames_equal_rows": all(frame == row for frame, row in both)}


def _closes(session: MarketSession) -> tuple[int, ...]:
    if not session.closes_ms:
        raise NotMeasured("closes are not waited for in a quick run")
    return session.closes_ms


def _finals(session: MarketSession) -> dict[int, KlineFrame]:
    """Return the first final frame of each close that was waited for."""
    found: dict[int, KlineFrame] = {}
    for frame in kline_frames(session, topic(session)):
        close_ms = frame.open_ms + MINUTE_MS
        if frame.final and close_ms in _closes(session):
            found.setdefault(close_ms, frame)
    return found


def _lag_ms(session: MarketSession, close_ms: int) -> int:
    """Return how long after a close its row was first read as it stayed from then on."""
    polls = [poll for poll in session.polls if poll.close_ms == close_ms]
    if len(polls) < _FEW or polls[-1].row is None:
        raise NotMeasured(session.questions.stopped or "too few reads of a close were answered")
    final = polls[-1].row
    lag_ms = polls[-1].after_ms
    for poll in reversed(polls):
        if poll.row != final:
            break
        lag_ms = poll.after_ms
    return round(lag_ms)


def _read(data: bytes) -> KlineFrame | None:
    try:
        event = msgspec.json.decode(data)
        candle = event["k"]
        row = tuple(candle[name] for name in _FROM_STREAM)
        return KlineFrame(
            int(event["E"]), int(candle["t"]), candle["x"] is True, int(candle["n"]), int(candle["L"]), row
        )
    except (*UNDECODABLE, KeyError, TypeError, ValueError):
        return None
