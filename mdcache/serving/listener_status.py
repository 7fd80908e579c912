"""What clients listen to, and what they were sent, by market, for `/v1/status` and metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mdcache.exchange.markets import Market
from mdcache.relay.relay import CLOSE_REASONS, RelayStatus
from mdcache.serving.listeners import ListenerEnd, ListenerKind, Listeners
from mdcache.serving.native.event_streams import EventCounts
from mdcache.serving.native.series_events import EventName

DROP_REASONS = ("conflated", "repeated")
END_REASONS = (*CLOSE_REASONS, *ListenerEnd)


def _zeros(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(names, 0)


@dataclass(frozen=True, slots=True)
class ListenersStatus:
    """One market's listeners: clients that are connected now, by kind.

    `topics`: those that are listened to over WebSockets; `series`: those whose events are. Since the start: `frames`:
    sent to a listener, each counted; `dropped`: frames that were left out; `mended`: final frames made of a read row;
    `closed`: listeners that were closed or refused; `events`: sent to a listener, by name.
    """

    market: str
    listeners: Mapping[str, int] = field(default_factory=lambda: _zeros(ListenerKind))
    topics: int = 0
    series: int = 0
    frames: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: _zeros(DROP_REASONS))
    mended: int = 0
    closed: Mapping[str, int] = field(default_factory=lambda: _zeros(END_REASONS))
    events: Mapping[str, int] = field(default_factory=lambda: _zeros(EventName))


def listeners_status(
    listeners: Listeners, relays: Iterable[RelayStatus], events: Mapping[Market, EventCounts]
) -> list[ListenersStatus]:
    """Return the state of every market.

    Args:
        listeners: Who is connected.
        relays: What the relay did, by market; nothing without streams.
        events: What was sent as events, by market.
    """
    counts, relayed = listeners.counts(), {each.market: each for each in relays}
    found: list[ListenersStatus] = []
    for market in Market:
        relay = relayed.get(market.value, RelayStatus(market.value, 0, 0, 0, 0, 0, _zeros(CLOSE_REASONS)))
        found.append(
            ListenersStatus(
                market=market.value,
                listeners={kind.value: counts[market, kind] for kind in ListenerKind},
                topics=relay.topics,
                series=events[market].series,
                frames=relay.frames,
                dropped={"conflated": relay.conflated, "repeated": relay.repeated},
                mended=relay.mended,
                closed={**relay.closed, **listeners.ends(market)},
                events={name.value: events[market].sent[name] for name in EventName},
            )
        )
    return found
