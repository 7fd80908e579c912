"""Events of `/v1/stream`, parsed line by line, and where to resume; without any I/O."""

import json
import random
from collections.abc import Sequence

from mdcache.client.candles import Candle, Event
from mdcache.client.errors import ClientError, Unavailable

_LEAST_PAUSE_S, _MOST_PAUSE_S = 1.0, 30.0


class Subscription:
    """What is listened to, and up to where events have been given out.

    `position`: from which the same events go on, in this process or in another one; known as soon as there is a
    connection.
    """

    def __init__(
        self, market: str, symbols: Sequence[str], intervals: Sequence[str], after: str | None, *, closed: bool
    ) -> None:
        self.params = {"market": market, "symbols": ",".join(symbols), "intervals": ",".join(intervals)}
        self.params |= {"closed": "true"} if closed else {}
        self.position = after or ""
        self._fields: dict[str, str] = {}
        self._pause_s = _LEAST_PAUSE_S

    def headers(self) -> dict[str, str]:
        """Return the headers of the next connection."""
        self._fields = {}
        return {"accept": "text/event-stream"} | ({"last-event-id": self.position} if self.position else {})

    def take(self, line: str) -> Event | None:
        """Take a line; return the event that it completes."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "id" in fields:
            self.position = fields["id"]
            self._pause_s = _LEAST_PAUSE_S
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        named = (data["market"], data["symbol"], data["interval"])
        candle = Candle(*named, *data["row"]) if "row" in data else None
        return Event(fields["event"], *named, data["as_of"], candle, self.position)

    def pause_s(self, error: ClientError | None) -> float:
        """Return for how long to wait before connecting again; raise an error that waiting does not mend."""
        if error is not None and not isinstance(error, Unavailable):
            raise error
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _MOST_PAUSE_S)
        jitter = 0.5 + random.random() / 2
        return max(pause_s * jitter, 0.0 if error is None else error.retry_after_s)
