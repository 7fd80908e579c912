"""A reply to a measurement, and how its body is read."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from mdcache.exchange.fact_kinds import ACCEPTED
from mdcache.exchange.rows import COLUMNS
from mdcache.exchange.undecodable import UNDECODABLE
from mdcache.upstream.reply_head import ReplyHead
from mdcache.verify.findings import NotMeasured

_WHOLE_COLUMNS = 0, 6, 8  # open time, close time, trades
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class ReplySeen:
    """A whole reply. `sent_ms`: exchange time of its question. `charged`: what the usage header shows for it."""

    head: ReplyHead
    body: bytes
    sent_ms: float
    sent_s: float
    received_s: float
    charged: int | None

    def said(self) -> str:
        """Return `accepted`, or the code and text of the refusal."""
        if self.head.status == HTTPStatus.OK:
            return ACCEPTED
        stated = self._decoded()
        if not isinstance(stated, dict) or not isinstance(stated.get("code"), int):
            raise NotMeasured(f"answered with {self.head.status}, and no reason")
        return f"{stated['code']} {str(stated.get('msg'))[:_MAX_TEXT]}"

    def rows(self) -> list[list[Any]]:
        """Return the candles of an answer; raise `NotMeasured` if it is a refusal or anything else."""
        found = self.json()
        if not isinstance(found, list) or not all(map(_is_candle, found)):
            raise NotMeasured("the answer is no list of candles")
        return found

    def opens(self) -> list[int]:
        """Return the open times of its candles."""
        return [int(row[0]) for row in self.rows()]

    def json(self) -> Any:  # noqa: ANN401 - a reply may be anything
        """Return the decoded body of an answer; raise `NotMeasured` if it is a refusal, or no JSON."""
        said = self.said()
        if said != ACCEPTED:
            raise NotMeasured(f"refused: {said}")
        return self._decoded()

    def _decoded(self) -> Any:  # noqa: ANN401 - the same
        try:
            return msgspec.json.decode(self.body)
        except UNDECODABLE:
            raise NotMeasured(f"answered with {self.head.status}, and a body that is no JSON") from None


def _is_candle(row: object) -> bool:
    if not isinstance(row, list) or len(row) != COLUMNS:
        return False
    return all(isinstance(row[place], int) for place in _WHOLE_COLUMNS)
