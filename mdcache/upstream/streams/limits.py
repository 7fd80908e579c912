"""What Binance allows on streams, and what we use of it. Tables only (docs/binance.md#stream-connections)."""

from collections.abc import Mapping
from dataclasses import dataclass

from mdcache.exchange.markets import Market
from mdcache.exchange.topics import StreamRoute

# A longer message is ignored without a word from about 4 KB on: Binance.Net#1180.
MESSAGE_BYTES = 3_500
# 1,024 are allowed, and one more ends the connection. The rest is room for topics that the other side still counts:
# those of an UNSUBSCRIBE on its way.
TOPICS_A_CONNECTION = 800
# Frames of a full `!miniTicker@arr` have some 500 KB; the library refuses a longer message before it is in memory.
FRAME_BYTES = 4 * 1024 * 1024

# 20 connects in any minute, over all markets and connections: six at once, later ones from 14 a minute. Far under the
# 300 in five minutes that spot allows an address (web-socket-streams.md).
CONNECT_BURST = 6
CONNECT_EVERY_S = 60 / 14

# All replicas behind one address: under 100 connects in any five minutes, 36 at once and one each 5 s. Planned ones
# leave two thirds of the burst for trouble, and for replicas that start together.
ADDRESS_BURST = 36
ADDRESS_PLANNED_BURST = 12
ADDRESS_EVERY_S = 5.0

# A connection is valid for 24 hours (web-socket-streams.md). Ours live for different times, so that they don't end
# together.
SHORTEST_LIFE_S = 18 * 3_600
LONGEST_LIFE_S = 23 * 3_600


@dataclass(frozen=True, slots=True)
class MarketLimits:
    """What a market allows, and the paths of its combined form.

    `message_every_s`: between two messages of ours. Pongs count as messages, too, and the library answers pings by
    itself, so this leaves more than half of what is allowed. `paths`: of each route, to be tried in this order.
    """

    message_every_s: float
    paths: Mapping[StreamRoute, tuple[str, ...]]


LIMITS: dict[Market, MarketLimits] = {
    Market.SPOT: MarketLimits(  # 5 messages a second
        0.5, {StreamRoute.MARKET: ("/stream",), StreamRoute.MICROS: ("/stream?timeUnit=MICROSECOND",)}
    ),
    Market.USDM: MarketLimits(  # 10 a second; other paths acknowledge a topic and send no frame
        0.25, {StreamRoute.MARKET: ("/market/stream",), StreamRoute.PUBLIC: ("/public/stream",)}
    ),
    Market.COINM: MarketLimits(  # 10 a second; sources disagree about the path
        0.25, {StreamRoute.MARKET: ("/stream", "/market/stream")}
    ),
}
