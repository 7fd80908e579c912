"""All bots of a history, who listen or wait by themselves while its steps are taken; and what they were sent."""

import random
from collections.abc import Callable

from mdcache.exchange.markets import Market
from tests.system.events import EventBot, EventChecks
from tests.system.native import NativeBot, NativeChecks, NativeQuestion
from tests.system.replica import Replica
from tests.system.rest_oracle import RestOracle
from tests.system.socket_checks import SocketChecks, Truth
from tests.system.sockets import SocketBot
from tests.system.world import World

_TOPICS = {
    Market.SPOT: ("btcusdt@kline_1m", "btcusdt@kline_1s", "btcusdt@trade", "solusdt@bookTicker", "quietusdt@kline_1m"),
    Market.USDM: ("btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@500ms"),
    Market.COINM: ("btcusd_perp@kline_1m", "dotusd_perp@kline_1m", "btcusd_perp@aggTrade"),
}
_SYMBOLS = {Market.SPOT: ("BTCUSDT", "SOLUSDT"), Market.USDM: ("BTCUSDT",), Market.COINM: ("BTCUSD_PERP",)}
_MOST = 3  # of each kind


class Bots:
    """`frames`, `events`, `questions`: how many there were."""

    def __init__(
        self, world: World, oracle: RestOracle, excused: Callable[[Replica], bool], tell: Callable[[str], None]
    ) -> None:
        self.frames = self.events = self.questions = 0
        self._world = world
        self._oracle = oracle
        self._excused = excused
        self._tell = tell
        self._truth = Truth(world.exchange.config, world.clock)
        self._socket_checks = SocketChecks(self._truth)
        self._native_checks = NativeChecks(oracle)
        self._sockets: list[SocketBot] = []
        self._events: list[tuple[EventBot, EventChecks]] = []
        self._natives: list[NativeBot] = []

    # ------------------------------------------------------------------------------- what happens

    def listen(self, rng: random.Random) -> None:
        """A bot comes, of one kind or another."""
        market = rng.choice(list(Market))
        symbols = _SYMBOLS[market][: rng.randint(1, 2)]
        kind = rng.randrange(3)
        if kind == 0 and self._world.options.streams and len(self._sockets) < _MOST:
            topics = tuple(rng.sample(_TOPICS[market], rng.randint(1, 3)))
            for topic in topics:
                self._truth.follow(market, topic)
            self._sockets.append(SocketBot(self._world, market, topics, self._tell))
        elif kind == 1 and len(self._events) < _MOST:
            interval = rng.choice(["1m", "1m", "1s"] if market is Market.SPOT else ["1m", "3m"])
            only = rng.choice(["", "&closed=true"])
            query = f"market={market.value}&symbols={','.join(symbols)}&intervals={interval}{only}"
            checks = EventChecks(self._oracle, market)
            self._events.append((EventBot(self._world, query, self._tell), checks))
        elif kind == 2 and len(self._natives) < _MOST:
            closed = rng.random() < 0.5
            question = NativeQuestion(
                market, symbols, rng.choice(["1m", "5m"]), rng.choice([1, 5, 50]), closed, rng.choice([1, 5, 30])
            )
            self._natives.append(NativeBot(self._world, question, self._excused, self._tell))

    async def leave(self, rng: random.Random) -> None:
        """One of them goes."""
        self.check()
        found = rng.choice(self._all()) if self._all() else None
        if found is not None:
            self._sockets = [each for each in self._sockets if each is not found]
            self._events = [each for each in self._events if each[0] is not found]
            self._natives = [each for each in self._natives if each is not found]
            await found.leave()

    def _all(self) -> list[SocketBot | EventBot | NativeBot]:
        return [*self._sockets, *(bot for bot, _ in self._events), *self._natives]

    def stop_reading(self, rng: random.Random) -> None:
        """One reads nothing, or reads again."""
        for bot in self._sockets:
            (bot.stop_reading if rng.random() < 0.3 else bot.read_again)()

    def read_again(self) -> None:
        """All of them read."""
        for bot in self._sockets:
            bot.read_again()

    async def leave_all(self) -> None:
        for bot in self._all():
            await bot.leave()
        self._truth.aclose()

    # ------------------------------------------------------------------------------- what must be so

    async def wait_until_all_hear(self, check: Callable[[], None], within_s: float) -> None:
        """Wait until each bot was sent something new of what is traded all the time, or fail."""
        check()
        before = self._heard()
        end_s = self._world.clock.now() + within_s
        while True:
            heard = self._heard()
            silent = [key for key in heard if heard[key] <= before.get(key, 0)]
            if not silent:
                return
            assert self._world.clock.now() < end_s, ("nothing is heard", silent)
            await self._world.wait(2.0)
            check()

    def _heard(self) -> dict[tuple[int, str], int]:
        """Return how much each bot was sent of what is traded all the time."""
        found = {
            (number, topic): bot.counts[topic]
            for number, bot in enumerate(self._sockets)
            for topic in bot.topics
            if topic.startswith("btcusd")
        }
        return found | {
            (number, bot.query): bot.count for number, (bot, _) in enumerate(self._events) if "closed" not in bot.query
        }

    def check(self) -> None:
        """Check what came since the last time."""
        self._truth.hear()
        for bot in self._sockets:
            self.frames += self._socket_checks.check(bot)
        for listener, checks in self._events:
            events = listener.take()
            self.events += len(events)
            listener.count += len(events)
            checks.check(events)
            statuses, listener.statuses = listener.statuses, []
            odd = [status for status in statuses if status not in {0, 200, 502, 503}]
            assert not odd, ("events refused", odd, listener.query)
        for asker in self._natives:
            replies, asker.replies = asker.replies, []
            for reply in replies:
                self._native_checks.check(asker, reply)
            self.questions += asker.questions
            asker.questions = 0
