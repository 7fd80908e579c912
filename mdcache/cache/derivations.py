"""Derivations: from which series in use the open candle of another can be derived (docs/design.md#derivation)."""

from collections import OrderedDict
from dataclasses import replace

from mdcache.cache.series_registry import SeriesRegistry
from mdcache.candles.derivation import Derivation, NotDerived, can_derive
from mdcache.candles.freshness import TailFloor
from mdcache.candles.series import Series
from mdcache.clock import Clock, Instant
from mdcache.events import DerivationAttempted, DerivationEnded, DerivationResult, Events
from mdcache.exchange.intervals import INTERVALS
from mdcache.exchange.klines import SeriesKey

_NO_CADENCE = 0  # a derived candle is fresh for the TTL, as one that was read


class Derivations:
    """The derivations of all series that are asked for.

    Args:
        registry: All series.
        clock: Tells when a series was last asked for.
        events: Where the result of each attempt is told.
        idle_s: A series that nobody asked for in this time is not used to derive others.
    """

    def __init__(self, registry: SeriesRegistry, clock: Clock, events: Events, idle_s: float) -> None:
        self._registry = registry
        self._clock = clock
        self._events = events
        self._idle_s = idle_s
        self._asked_s: OrderedDict[SeriesKey, float] = OrderedDict()
        self._derivations: dict[SeriesKey, dict[SeriesKey, Derivation]] = {}  # by target, then by parts

    def note_asked(self, series: Series) -> None:
        """Record that a client asked for a series, and forget those that nobody asks for any more."""
        now_s = self._clock.now()
        self._asked_s[series.key] = now_s
        self._asked_s.move_to_end(series.key)
        while self._asked_s[oldest := next(iter(self._asked_s))] < now_s - self._idle_s:
            del self._asked_s[oldest]
            self._derivations.pop(oldest, None)

    def find(self, target: Series, now: Instant) -> Derivation | None:
        """Return the derivation from the shortest series in use that is proven.

        Return `None` if there is none, if a candle of the target has closed that only a read can complete, or if a
        stream showed the target last.
        """
        tail = target.live_tail
        if tail is None or tail.cadence_ms or tail.close_passed(now.late_ms):
            return None
        if any(now.ms < known.ended_until_ms for known in self._derivations.get(target.key, {}).values()):
            self._tell(target, DerivationResult.UNPROVEN)
            return None
        result: DerivationResult | None = None
        for key in self._shorter(target.key):
            parts = self._registry.find(key) if key in self._asked_s else None
            if parts is None:
                continue
            derivation = self._derivation(target, parts)
            refusal = derivation.refusal()
            if refusal is None:
                return derivation
            result = DerivationResult(refusal)
            if refusal is NotDerived.MISMATCH:
                self._events.emit(DerivationEnded(key.market, str(target.key), *derivation.mismatch))
                break
        if result is not None:
            self._tell(target, result)
        return None

    def derive(self, derivation: Derivation, floor: TailFloor) -> bool:
        """Lay the derived candle over the target's tail; return whether that is now as new as `floor`."""
        frame, target = derivation.derive(), derivation.target
        result = DerivationResult(frame) if isinstance(frame, NotDerived) else DerivationResult.DERIVED
        self._tell(target, result)
        if isinstance(frame, NotDerived) or not target.apply_frame(frame, _NO_CADENCE):
            return False
        tail = target.live_tail
        return tail is not None and tail.as_of_ms >= floor.as_of_ms

    def _tell(self, target: Series, result: DerivationResult) -> None:
        self._events.emit(DerivationAttempted(target.key.market, result))

    def _shorter(self, target: SeriesKey) -> list[SeriesKey]:
        keys = [replace(target, interval=name) for name in INTERVALS]
        return [key for key in keys if can_derive(target, key)]

    def _derivation(self, target: Series, parts: Series) -> Derivation:
        of_target = self._derivations.setdefault(target.key, {})
        known = of_target.get(parts.key)
        if known is None or known.target is not target or known.parts is not parts:
            known = of_target[parts.key] = Derivation(target, parts)
        return known
