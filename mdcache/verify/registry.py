"""All assumptions, in the order in which they are measured."""

from collections.abc import Collection

from mdcache.exchange.markets import Market
from mdcache.verify.assumption import Assumption
from mdcache.verify.caps import MostCandles
from mdcache.verify.charges import (
    CandleWeights,
    OtherWeights,
    RefusalsWeigh,
    SharedByFutures,
    SharedBySpotHosts,
    UsageShown,
    WeightLimit,
)
from mdcache.verify.clocks import CompressedReplies, DateOfReplies, ProtocolOffered
from mdcache.verify.closes import FinalFrames, FinalRows, FramesAndRows
from mdcache.verify.open_times import Microseconds, ThreeDayPhase, TimeZoneOfDays
from mdcache.verify.ranges import BothEnds, EndOnly, EndsInclusive, FutureEnds, LongestRange, StartOnly
from mdcache.verify.refused_questions import CheckOrder, RefusalTexts
from mdcache.verify.topics_heard import Cadences, QuietTopics, RouteOfStreams, SilentTickers
from mdcache.verify.untraded_symbols import UntradedSymbols

ASSUMPTIONS: tuple[type[Assumption], ...] = (
    DateOfReplies,
    WeightLimit,
    SharedByFutures,
    SharedBySpotHosts,
    MostCandles,
    EndsInclusive,
    StartOnly,
    EndOnly,
    BothEnds,
    FutureEnds,
    LongestRange,
    TimeZoneOfDays,
    Microseconds,
    ThreeDayPhase,
    UntradedSymbols,
    CheckOrder,
    RefusalTexts,
    OtherWeights,
    CandleWeights,
    RefusalsWeigh,
    UsageShown,
    CompressedReplies,
    ProtocolOffered,
    FinalRows,
    FinalFrames,
    FramesAndRows,
    RouteOfStreams,
    Cadences,
    SilentTickers,
    QuietTopics,
)


def chosen(markets: Collection[Market], only: Collection[str] = ()) -> list[Assumption]:
    """Return the assumptions about some markets; with `only`, those whose facts' names contain one of its texts."""
    found = [each(market) for each in ASSUMPTIONS for market in each.costs if market in markets]
    return [one for one in found if not only or any(text in name for text in only for name in one.known_facts)]
