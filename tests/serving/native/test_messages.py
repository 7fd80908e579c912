"""Long answers are made in turns: however many there are, everything else waits for one slice.

Rule: docs/design.md#native.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mdcache.serving.native.messages import Streamed
from tests.support.serving_fakes import ManualClock

ANSWERS, PIECES, PIECE_S = 20, 6, 0.002


@pytest.mark.parametrize("whole", [False, True])
async def test_many_long_answers_hold_the_loop_no_longer_than_one(*, whole: bool) -> None:
    clock, turns = ManualClock(), asyncio.Lock()
    bodies: dict[int, bytes] = dict.fromkeys(range(ANSWERS), b"")

    def pieces() -> Iterator[bytes]:
        for number in range(PIECES):
            clock.seconds += PIECE_S
            yield b"%d" % number * 40_000

    async def answer(place: int) -> None:
        async def send(message: Any) -> None:
            bodies[place] += message.get("body", b"")

        made = Streamed((), pieces(), clock, turns)
        await ((await made.joined(1 << 30)) if whole else made).send(send)

    answers = asyncio.gather(*map(answer, range(ANSWERS)))
    longest_s, seen_s = 0.0, clock.now()
    while not answers.done():
        await asyncio.sleep(0)
        longest_s, seen_s = max(longest_s, clock.now() - seen_s), clock.now()
    await answers
    assert longest_s == pytest.approx(PIECE_S)
    assert set(bodies.values()) == {b"".join(b"%d" % number * 40_000 for number in range(PIECES))}
