"""Assumptions about streams: where topics are, how often they send, and what silence means."""

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from mdcache.exchange.fact_kinds import FactValue
from mdcache.exchange.markets import Market
from mdcache.verify.assumption import FREE, Assumption
from mdcache.verify.closes import KlineFrame, kline_frames, topic
from mdcache.verify.exchange_time import MINUTE_MS
from mdcache.verify.findings import NotMeasured, Seen
from mdcache.verify.listening import ROUTES
from mdcache.verify.session import MarketSession

_FEW = 4  # times between frames, for a cadence
_SHORT = 50  # of so many gaps, the shortest is left out
_LATE_MS = 1_500  # how long after a trade a frame of the tickers may still list it, beside their longest gap
_LISTENED_MS = 20_000  # of a minute: a topic with frames sends some in that time
_TRADES = 8  # its column


class RouteOfStreams(Assumption):
    """Under which path kline topics send."""

    facts = ("stream_route",)
    assumed = "Kline topics send under `/market/stream` on USD-M, and under `/stream` on COIN-M."
    how = "Listen there; only if no frame comes in 8 s, under the other path."
    follows = "The daemon would find no frames where it looks first; on COIN-M it looks under the other path, too."
    costs: ClassVar[Mapping[Market, int]] = {Market.USDM: 0, Market.COINM: 0}
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Look which path brought frames."""
        route = session.recording.route
        return {"stream_route": route if route in ROUTES else NotMeasured("no path brought a frame")}


class Cadences(Assumption):
    """How often topics send."""

    facts = ("frame_cadence_ms", "seconds_cadence_ms", "mini_tickers_cadence_ms")
    assumed = (
        "A traded symbol's topic sends every 2 s on spot (`1s`: 1 s), every 250 ms on futures; tickers every second."
    )
    how = "Take the shortest gaps between frames of the most traded symbol, and of `!miniTicker@arr`."
    follows = "Candles of streams would count as fresh for too long, or not long enough."
    costs = FREE
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Take the shortest gaps: in longer ones, nothing may have been traded."""
        tickers = [frame.event_ms for frame in session.recording.tickers]
        seconds = _event_times(session, "1s", finals=False)  # there may be none: each frame may be a second's final one
        return {
            "frame_cadence_ms": _between(_event_times(session, "1m", finals=False)),
            "seconds_cadence_ms": _between(
                seconds if len(seconds) > _FEW else _event_times(session, "1s", finals=True)
            ),
            "mini_tickers_cadence_ms": _between(tickers),
        }


class SilentTickers(Assumption):
    """What it means that `!miniTicker@arr` does not list a symbol."""

    facts = ("mini_tickers_list_traded", "mini_tickers_list_untraded")
    assumed = (
        "Each frame of `!miniTicker@arr` lists every symbol that was traded since the one before it, and no other."
    )
    how = "Compare its frames with the trades that kline topics show, of the most traded and of hardly traded symbols."
    follows = "A symbol that the tickers do not list could not be taken for untraded: every quiet series would be read."
    costs = FREE
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Look for trades that no frame lists, and for listings without a trade."""
        times_ms = [frame.event_ms for frame in session.recording.tickers]
        late_ms = _LATE_MS + max((after - before for before, after in pairwise(times_ms)), default=0)
        traded: list[bool] = []
        untraded: list[bool] = []
        for symbol in (session.symbol, *session.quiet):
            frames = kline_frames(session, topic(session, symbol))
            for before, after in pairwise(frames):
                # a frame shows trades up to its event time, a final one up to its close
                begin_ms, end_ms = (min(each.event_ms, each.open_ms + MINUTE_MS) for each in (before, after))
                if not _in_tickers(session, begin_ms, end_ms + late_ms):
                    continue
                if after.last_trade > before.last_trade >= 0:
                    traded.append(_listed(session, symbol, begin_ms, end_ms + late_ms))
                elif before.open_ms == after.open_ms and before.last_trade == after.last_trade:
                    untraded.append(_listed(session, symbol, begin_ms + late_ms, end_ms))
            untraded += [
                _listed(session, symbol, max(open_ms + late_ms, times_ms[0]), open_ms + MINUTE_MS)
                for open_ms in await _quiet_minutes(session, symbol)
            ]
        return {
            "mini_tickers_list_traded": all(traded) if traded else NotMeasured("no trade was seen"),
            "mini_tickers_list_untraded": any(untraded) if untraded else NotMeasured(_NO_QUIET),
        }


class QuietTopics(Assumption):
    """What streams and REST show of a minute without a trade."""

    facts = ("quiet_topics", "zero_trade_rows")
    assumed = "Of a minute without a trade, REST prints a row with 0 trades, and the topic sends nothing."
    how = "Listen to symbols that the tickers do not list, and read the newest half hour of one."
    follows = "Missing rows would be read again as holes; or topics would prove by themselves that nothing was traded."
    costs: ClassVar[Mapping[Market, int]] = {Market.SPOT: 2, Market.USDM: 1, Market.COINM: 1}
    at_end = True

    async def measure(self, session: MarketSession) -> Seen:
        """Look at the quietest symbol."""
        if not session.quiet:
            raise NotMeasured(_NO_QUIET)
        rows = await session.quiet_rows()
        opens = [int(row[0]) for row in rows]
        holes = len(opens) > 1 and opens[-1] - opens[0] != (len(opens) - 1) * MINUTE_MS
        zeros = any(int(row[_TRADES]) == 0 for row in rows)
        seen: dict[str, FactValue | NotMeasured] = {
            "zero_trade_rows": zeros and not holes if zeros or holes else NotMeasured("all minutes had trades")
        }
        quiet = await _quiet_minutes(session, session.quiet[0])
        heard = {frame.open_ms for frame in kline_frames(session, topic(session, session.quiet[0]))}
        seen["quiet_topics"] = (
            "frames" if heard & set(quiet) else "silent" if quiet else NotMeasured("no minute was without a trade")
        )
        return seen


_NO_QUIET = "no symbol was quiet enough"


def order_by_trades(session: MarketSession) -> None:
    """Sort the quiet symbols by how often they were traded in this run."""
    if session.quiet:
        frames = {symbol: kline_frames(session, topic(session, symbol)) for symbol in session.quiet}
        session.quiet.sort(key=lambda symbol: len({frame.last_trade for frame in frames[symbol]}))


async def _quiet_minutes(session: MarketSession, symbol: str) -> list[int]:
    """Return the minutes without a trade whose ends were recorded, by open time; empty for all but the quietest."""
    if not session.quiet or symbol != session.quiet[0] or session.quiet_since_ms is None:
        return []
    tickers = session.recording.tickers
    since_ms = session.quiet_since_ms
    until_ms = tickers[-1].event_ms if tickers else int(session.time.now_ms())
    rows = await session.quiet_rows()
    return [
        int(row[0])
        for row in rows
        if int(row[_TRADES]) == 0 and since_ms + _LISTENED_MS <= int(row[0]) + MINUTE_MS <= until_ms
    ]


def _event_times(session: MarketSession, interval: str, *, finals: bool) -> list[int]:
    """Return the event times of frames; final ones, which come at closes and not by the cadence, only with `finals`."""
    frames: list[KlineFrame] = kline_frames(session, topic(session, interval=interval))
    return [frame.event_ms for frame in frames if finals or not frame.final]


def _between(times_ms: list[int]) -> FactValue | NotMeasured:
    gaps = sorted(after - before for before, after in pairwise(times_ms) if after > before)
    return gaps[len(gaps) // _SHORT] if len(gaps) >= _FEW else NotMeasured("too few frames came")


def _in_tickers(session: MarketSession, begin_ms: int, end_ms: int) -> bool:
    """Return whether the tickers' frames are known from one moment to another."""
    tickers = session.recording.tickers
    return bool(tickers) and tickers[0].event_ms <= begin_ms and end_ms <= tickers[-1].event_ms


def _listed(session: MarketSession, symbol: str, begin_ms: int, end_ms: int) -> bool:
    return any(symbol in frame.symbols for frame in session.recording.tickers if begin_ms < frame.event_ms <= end_ms)
