"""Build a run from what the command line knows: base URLs, the gate, the network."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from mdcache.clock import Clock
from mdcache.exchange.markets import Family, Market
from mdcache.exchange.rate_limits import DEFAULT_LIMIT
from mdcache.exchange.streams import MINI_TICKERS
from mdcache.upstream.http_client import MarketClient, Transport
from mdcache.upstream.streams.connect_pace import ConnectPace
from mdcache.upstream.streams.ports import Connect, HandshakeGate
from mdcache.verify.allowance import Allowance
from mdcache.verify.closes import topic
from mdcache.verify.exchange_time import MeasuredTime
from mdcache.verify.listening import StreamListener
from mdcache.verify.protocols import chosen_protocol
from mdcache.verify.questions import Questions
from mdcache.verify.registry import chosen
from mdcache.verify.run import VerifyProgress, VerifyRun
from mdcache.verify.session import MarketSession

SPOT_HOST, SECOND_SPOT_URL = "api.binance.com", "https://data-api.binance.vision"  # docs/binance.md#hosts
_ROUTES: Mapping[Market, tuple[str, ...]] = {
    Market.SPOT: ("none",),
    Market.USDM: ("market", "none"),
    Market.COINM: ("none", "market"),
}


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What is to be verified: these markets, all facts or those with one of the texts of `only` in their names."""

    markets: Collection[Market] = tuple(Market)
    only: Collection[str] = ()
    quick: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeAccess:
    """How the exchange is reached.

    `stream_urls`: of the markets whose streams are listened to. `second_spot_url`: of another host of spot, if the
    first one is known to have one.
    """

    base_urls: Mapping[Market, str]
    stream_urls: Mapping[Market, str]
    gate: HandshakeGate
    connect: Connect
    share: float
    timeout_s: float
    transport: Transport = None
    second_spot_url: str | None = None


def open_run(
    request: VerifyRequest, access: ExchangeAccess, clock: Clock, on_progress: Callable[[VerifyProgress], None]
) -> tuple[VerifyRun, list[MarketClient]]:
    """Return a run, and the clients that its caller closes."""
    assumptions = chosen(request.markets, request.only)
    allowance = Allowance(sum(each.cost for each in assumptions))
    clients = {market: _client(access, url) for market, url in access.base_urls.items()}
    second = None if access.second_spot_url is None else _client(access, access.second_spot_url)
    questions = {
        family: Questions(
            family,
            {market: client for market, client in clients.items() if market.family is family},
            access.gate,
            allowance,
            MeasuredTime(clock),
            clock,
            access.share,
            second if family is Family.SPOT else None,
            DEFAULT_LIMIT[family],
        )
        for family in Family
    }
    pace = ConnectPace()
    sessions: dict[Market, MarketSession] = {}
    for market in dict.fromkeys(each.market for each in assumptions):
        protocol = partial(chosen_protocol, access.base_urls[market], access.timeout_s)
        session = sessions[market] = MarketSession(market, questions[market.family], protocol)
        listens = any(each.at_end for each in assumptions if each.market is market)
        if market in access.stream_urls and listens:
            seconds = [topic(session, interval="1s")] if market is Market.SPOT else []
            session.listener = StreamListener(
                market,
                access.stream_urls[market],
                _ROUTES[market],
                [topic(session), *seconds, MINI_TICKERS],
                questions=questions[market.family],
                connect=access.connect,
                pace=pace,
                timeout_s=access.timeout_s,
            )
    run = VerifyRun(assumptions, sessions, allowance, clock, quick=request.quick, on_progress=on_progress)
    return run, [*clients.values(), *([second] if second else [])]


def _client(access: ExchangeAccess, url: str) -> MarketClient:
    return MarketClient(url, timeout_s=access.timeout_s, concurrency=1, transport=access.transport)
