"""The state of streams, by market, for `/v1/status` and metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mdcache.cache.stream_frames import FrameCounts
from mdcache.exchange.markets import Market
from mdcache.upstream.streams.market_streams import MarketStreamsStatus

TOPIC_STATES = ("fed", "quiet", "silent")
FRAME_RESULTS = ("news", "old", "rejected")


@dataclass(frozen=True, slots=True)
class StreamsStatus:
    """One market's streams; `topics` and `frames` are counts.

    `topics`, those that feed candles: `fed` had a frame in the last 5 s, `silent` none for a minute, `quiet` are the
    others. `dead`: those of them that sent nothing although a read showed trades. `frames`, since the start: `news`,
    `old` with nothing new, and `rejected`, which could not be read. `path`: on which connections are opened.
    `retry_in_s`: 0 unless a connect waits after trouble.
    """

    market: str
    path: str = ""
    connections: int = 0
    topics: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(TOPIC_STATES, 0))
    dead: int = 0
    frames: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(FRAME_RESULTS, 0))
    connects_last_minute: int = 0
    connects_last_hour: int = 0
    retry_in_s: float = 0.0
    last_error: str = ""


def streams_status(streams: MarketStreamsStatus, frames: FrameCounts, dead: int) -> StreamsStatus:
    """Return what is known of a market's streams; `dead`: how many of its topics are."""
    quiet = streams.topics - streams.fed - streams.silent
    return StreamsStatus(
        market=streams.market,
        path=streams.path,
        connections=streams.connections,
        topics={"fed": streams.fed, "quiet": quiet, "silent": streams.silent},
        dead=dead if streams.connections else 0,
        frames={"news": frames.news, "old": frames.old, "rejected": frames.rejected},
        connects_last_minute=streams.connects_last_minute,
        connects_last_hour=streams.connects_last_hour,
        retry_in_s=round(streams.retry_in_s, 3),
        last_error=streams.last_error,
    )


def of_every_market(found: Iterable[StreamsStatus]) -> list[StreamsStatus]:
    """Return the state of every market, zeros where there are no streams."""
    known = {status.market: status for status in found}
    return [known.get(market.value) or StreamsStatus(market.value) for market in Market]
