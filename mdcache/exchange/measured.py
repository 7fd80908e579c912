"""What the daemon takes from an exchange profile, and why it leaves the rest (docs/design.md#exchange-profile). Pure.

A measurement is of a few closes and a few questions on one day. So it may make the daemon more careful at once, but how
much less careful is bounded by the worst that others have reported.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mdcache.exchange.fact_kinds import FactValue, weight_of, weight_steps
from mdcache.exchange.facts import FACTS, FINAL_ROW_LAG_MS, Fact
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import KLINE_ENDPOINTS, KlineEndpoint, Market
from mdcache.exchange.profile import Profile
from mdcache.exchange.streams import cadence_ms
from mdcache.exchange.weights import kline_steps

FINAL_FRAME_WITHIN_MS = 500  # of a close: how long a question waits for the final frame in place of a read
_LOST_AFTER_MS, _MAX_LOST_AFTER_MS = 3_000, 30_000  # of a close: a final frame counts as lost, and is mended
_PROMPT_FRAME_MS = 400  # measured, so that nearly all come within that
_SURE_MS = 30_000  # CONFIRM_S may fall to this: final rows 24 s late were reported (Binance.Net 1267)
MIN_CAP, _MIN_DAYS = 100, 10  # smaller pages would make a question of many reads
_MAX_CADENCE_MS = 3_000  # with 1.25 of it and 0.1 s a tail counts as fresh: less than 4 s
_SETTLE_LAGS, _CONFIRM_LAGS = 1.5, 4  # how many measured lags a row has until two reads, or one, settle it
_DAY_MS = 86_400_000


_Steps = tuple[tuple[int, int], ...]  # up to this limit, this weight


@dataclass(frozen=True, slots=True)
class ProfileNote:
    """What came of one fact that is not as assumed. `taken`: whether the daemon goes by it."""

    fact: str
    measured: FactValue
    assumed: FactValue
    taken: bool
    effect: str


@dataclass(frozen=True, slots=True)
class SettleTimes:
    """SETTLE_S and CONFIRM_S in milliseconds. `given`: CONFIRM_S was set by hand."""

    settle_ms: int
    confirm_ms: int
    given: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What the daemon takes from a profile; empty where it takes nothing.

    `times`: how rows settle. `endpoints`: rules of kline paths, for reads; what clients may ask stays as documented.
    `final_frames_ms`: how long to wait for a final frame after a close. `lost_frames_ms`: after how long it counts as
    lost. `cadences_ms`: how often frames come.
    `unlisted`: markets whose `!miniTicker@arr` does not list all that traded. `unequal`: those whose frames are not
    REST's rows. `notes`: every fact that is not as assumed.
    """

    times: Mapping[Market, SettleTimes] = field(default_factory=dict)
    endpoints: Mapping[str, KlineEndpoint] = field(default_factory=dict)
    final_frames_ms: Mapping[Market, int] = field(default_factory=dict)
    lost_frames_ms: Mapping[Market, int] = field(default_factory=dict)
    cadences_ms: Mapping[Market, int] = field(default_factory=dict)
    unlisted: frozenset[Market] = frozenset()
    unequal: frozenset[Market] = frozenset()
    notes: tuple[ProfileNote, ...] = ()

    def endpoint(self, usual: KlineEndpoint) -> KlineEndpoint:
        """Return the rules by which a path is read."""
        return self.endpoints.get(usual.path, usual)

    def final_frame_ms(self, market: Market) -> int:
        """Return how long after a close to wait for the final frame; 0: not at all."""
        return self.final_frames_ms.get(market, FINAL_FRAME_WITHIN_MS if market is Market.SPOT else 0)

    def lost_frame_s(self, market: Market) -> float:
        """Return how long after a close a final frame counts as lost, in seconds."""
        return self.lost_frames_ms.get(market, _LOST_AFTER_MS) / 1000

    def cadence_ms(self, key: SeriesKey) -> int:
        """Return how often a series' topic sends a candle in which trades happen."""
        usual = cadence_ms(key)
        return usual if key.interval == "1s" else max(usual, self.cadences_ms.get(key.market, 0))


AS_ASSUMED = Measured()


class _Taking:
    """Goes through the facts of a profile, and collects what they change."""

    def __init__(self, usual: SettleTimes) -> None:
        self.times = dict.fromkeys(Market, usual)
        self.endpoints: dict[str, KlineEndpoint] = {}
        self.final_frames_ms: dict[Market, int] = {}
        self.lost_frames_ms: dict[Market, int] = {}
        self.cadences_ms: dict[Market, int] = {}
        self.unlisted: set[Market] = set()
        self.unequal: set[Market] = set()
        self.notes: list[ProfileNote] = []

    def take(self, fact: Fact, seen: FactValue) -> None:
        """Take a fact, if something can be made of it."""
        name = "weights" if fact.name.endswith("_weights") else fact.name
        effect = _TAKERS[name](self, fact, seen) if name in _TAKERS else None
        if effect is not None:
            self.notes.append(ProfileNote(fact.key, seen, fact.assumed, taken=True, effect=effect))
        elif not fact.agrees(seen):
            why = _LEFT.get(name, "the daemon needs no other value, or has none: see what verify says of it")
            self.notes.append(ProfileNote(fact.key, seen, fact.assumed, taken=False, effect=why))

    def final_row_lag(self, fact: Fact, seen: FactValue) -> str | None:
        """Let rows settle later; or sooner, if they were final at once."""
        usual, lag_ms = self.times[fact.market], _whole(seen)
        if lag_ms > FINAL_ROW_LAG_MS:
            settle_ms = max(usual.settle_ms, math.ceil(_SETTLE_LAGS * lag_ms / 100) * 100)
            confirm_ms = max(usual.confirm_ms, _CONFIRM_LAGS * lag_ms)
        elif usual.given or usual.confirm_ms <= _SURE_MS:
            return None
        else:
            settle_ms, confirm_ms = usual.settle_ms, _SURE_MS
        if (settle_ms, confirm_ms) == (usual.settle_ms, usual.confirm_ms):
            return None
        self.times[fact.market] = replace(usual, settle_ms=settle_ms, confirm_ms=confirm_ms)
        return (
            f"rows settle by two reads from {settle_ms / 1000:g} s after a close, by one from {confirm_ms / 1000:g} s"
        )

    def final_frame_lag(self, fact: Fact, seen: FactValue) -> str | None:
        """Wait for final frames where they come at once, read the close where they don't, and mend none too soon."""
        lag_ms, effects = _whole(seen), []
        waits, spot = lag_ms <= _PROMPT_FRAME_MS, fact.market is Market.SPOT
        if waits is not spot:
            self.final_frames_ms[fact.market] = FINAL_FRAME_WITHIN_MS if waits else 0
            read = "a close is read at once, without waiting for the final frame"
            wait = f"a question waits up to {FINAL_FRAME_WITHIN_MS / 1000:g} s after a close for the final frame"
            effects.append(wait if waits else read)
        lost_ms = min(_MAX_LOST_AFTER_MS, math.ceil(_SETTLE_LAGS * lag_ms / 100) * 100)
        if lost_ms > _LOST_AFTER_MS and not fact.agrees(seen):
            self.lost_frames_ms[fact.market] = lost_ms
            effects.append(f"a final frame counts as lost {lost_ms / 1000:g} s after the close")
        return "; ".join(effects) or None

    def frame_cadence(self, fact: Fact, seen: FactValue) -> str | None:
        """Wait longer for frames that come more seldom."""
        if fact.agrees(seen) or _whole(seen) > _MAX_CADENCE_MS:
            return None
        self.cadences_ms[fact.market] = _whole(seen)
        return f"the next frame is expected after {_whole(seen) / 1000:g} s"

    def tickers_list_traded(self, fact: Fact, seen: FactValue) -> str | None:
        """Do without silence where the tickers leave out symbols that traded."""
        if seen is not False:
            return None
        self.unlisted.add(fact.market)
        return "no silence is concluded from !miniTicker@arr"

    def frames_equal_rows(self, fact: Fact, seen: FactValue) -> str | None:
        """Do without frames that are not REST's rows."""
        if seen is not False:
            return None
        self.unequal.add(fact.market)
        return "candles are answered from REST alone, not from frames"

    def cap(self, fact: Fact, seen: FactValue) -> str | None:
        """Plan smaller pages."""
        rows = _whole(seen)
        if fact.agrees(seen) or not MIN_CAP <= rows < _whole(fact.assumed):
            return None
        for each in self._endpoints(fact.market):
            self.endpoints[each.path] = replace(each, max_limit=rows)
        return f"a read asks for at most {rows:,} rows"

    def range_days(self, fact: Fact, seen: FactValue) -> str | None:
        """Plan shorter windows, on COIN-M."""
        days = _whole(seen)
        if not _MIN_DAYS <= days < _whole(fact.assumed):
            return None
        for each in self._endpoints(fact.market):
            if each.max_span_ms is not None:
                self.endpoints[each.path] = replace(each, max_span_ms=days * _DAY_MS)
        return f"a window has at most {days} days"

    def weights(self, fact: Fact, seen: FactValue) -> str | None:
        """Reserve more where a read weighs more than documented; never less."""
        kind = fact.name.removesuffix("_weights")
        found = weight_steps(seen) if isinstance(seen, Mapping) else ()
        endpoint = next(each for each in self._endpoints(fact.market) if each.kind == kind)
        known = kline_steps(endpoint)
        steps = _heavier_steps(known, found)
        if steps == known:
            return None
        self.endpoints[endpoint.path] = replace(endpoint, weights=steps)
        return "a read reserves the greater weight of the measured and the documented one"

    def _endpoints(self, market: Market) -> list[KlineEndpoint]:
        return [self.endpoints.get(each.path, each) for each in KLINE_ENDPOINTS.values() if each.market is market]


def take(profile: Profile | None, usual: SettleTimes) -> Measured:
    """Return what the daemon takes from a profile.

    Args:
        profile: what was measured; `None` changes nothing.
        usual: the times of the settings, which a profile may lengthen.
    """
    taking = _Taking(usual)
    for key, seen in () if profile is None else profile.facts.items():
        taking.take(FACTS[key], seen)
    return Measured(
        taking.times,
        taking.endpoints,
        taking.final_frames_ms,
        taking.lost_frames_ms,
        taking.cadences_ms,
        frozenset(taking.unlisted),
        frozenset(taking.unequal),
        tuple(taking.notes),
    )


def _heavier_steps(known: _Steps, asked: _Steps) -> _Steps:
    """Return, step by step, the greater of the documented and the measured weight.

    Between two measured limits, the weight is assumed to exceed the documented one as much as at the worse of them.
    """
    above = [weight / weight_of(known, limit) for limit, weight in asked]
    steps: list[tuple[int, int]] = []
    for top in sorted({top for top, _ in (*known, *asked)}):
        place = bisect_left(asked, (top,))
        exact = place < len(asked) and asked[place][0] == top
        near = above[place : place + 1] if exact else above[max(0, place - 1) : place + 1]
        weight = math.ceil(weight_of(known, top) * max(1.0, *near))
        if steps and steps[-1][1] == weight:
            steps.pop()
        steps.append((top, weight))
    return tuple(steps)


def _whole(value: FactValue) -> int:
    return value if isinstance(value, int) else 0


_TAKERS: Mapping[str, Callable[[_Taking, Fact, FactValue], str | None]] = {
    "final_row_lag_ms": _Taking.final_row_lag,
    "final_frame_lag_ms": _Taking.final_frame_lag,
    "frame_cadence_ms": _Taking.frame_cadence,
    "mini_tickers_list_traded": _Taking.tickers_list_traded,
    "frames_equal_rows": _Taking.frames_equal_rows,
    "klines_cap": _Taking.cap,
    "range_days_cap": _Taking.range_days,
    "weights": _Taking.weights,
}
_OTHER_RULES = "the daemon's reads rely on what is assumed: its answers may lack rows"
_LEFT = {  # why a fact is not taken that is not as assumed
    "frame_cadence_ms": f"only up to {_MAX_CADENCE_MS / 1000:g} s: tails would count as fresh for too long",
    "klines_cap": f"only from {MIN_CAP} rows up to the documented cap: a page of fewer makes reads of many",
    "range_days_cap": f"only from {_MIN_DAYS} days up to the documented ones, and on COIN-M",
    "weights": "the documented weight, which is greater, is reserved; what Binance states counts anyway",
    "final_row_lag_ms": "SETTLE_S and CONFIRM_S allow for more already",
    **dict.fromkeys(
        ("start_inclusive", "end_inclusive", "start_only_rows", "end_only_rows", "both_ends_rows"), _OTHER_RULES
    ),
}
