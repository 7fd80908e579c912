"""A listener to the streams of an exchange in virtual time."""

import json
from typing import Any

from mdcache.sim.streams.session import Closing, StreamSession
from tests.sim.helpers import Sim


class Listener:
    """A connection, and all it was sent."""

    def __init__(self, sim: Sim, path: str, query: str = "") -> None:
        opened = sim.exchange.open_stream(path, query)
        assert isinstance(opened, StreamSession), opened
        self.sim, self.session = sim, opened
        self.texts: list[str] = []
        self.end: Closing | None = None
        self.ended_at = 0

    def listen(self, seconds: float) -> "Listener":
        """Take what comes for so long."""
        until = self.sim.now + round(seconds * 1000)
        while self.sim.now <= until and self.end is None:
            self._take(self.session.due(self.sim.now))
            self.sim.now = max(self.sim.now + 1, min(until + 1, self.session.next_ms(self.sim.now)))
        return self

    def say(self, message: object) -> str | None:
        """Send a message, and return its answer."""
        text = message if isinstance(message, str) else json.dumps(message)
        before = len(self.texts)
        self._take(self.session.receive(text, self.sim.now))
        return self.texts.pop(before) if len(self.texts) > before else None

    def subscribe(self, *topics: str) -> None:
        assert self.say({"method": "SUBSCRIBE", "params": topics, "id": 1}) == '{"result":null,"id":1}'

    @property
    def open(self) -> bool:
        return self.end is None

    @property
    def events(self) -> list[Any]:
        return [json.loads(text) for text in self.texts]

    def _take(self, out: list[str | Closing]) -> None:
        for one in out:
            assert self.end is None, "nothing follows the end"
            if isinstance(one, Closing):
                self.end, self.ended_at = one, self.sim.now
            else:
                self.texts.append(one)
