"""Long answers are made in turns: however many there are, everything else waits for one slice.

Rule: docs/design.md#native.
"""

import asyncio
import gzip
import random
from collections.abc import Iterator
from typing import Any

import pytest

from mdcache.serving.http.response_cycle import PARTS
from mdcache.serving.native import gzip_stream
from mdcache.serving.native.gzip_stream import Deflated, Part, deflate
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


@pytest.mark.parametrize("listed", [False, True])
async def test_what_is_compressed_for_one_answer_holds_the_loop_no_longer_than_a_piece(
    monkeypatch: pytest.MonkeyPatch, *, listed: bool
) -> None:
    clock, sent = ManualClock(), []

    def slow(body: bytes) -> Deflated:
        clock.seconds += PIECE_S
        return deflate(body)

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    monkeypatch.setattr(gzip_stream, "deflate", slow)
    pieces = [random.Random(number).randbytes(40_000) for number in range(PIECES)]
    made = Streamed((), pieces if listed else iter(pieces), clock, asyncio.Lock(), gzip=True, in_parts=listed)
    answer = asyncio.create_task(made.send(send))
    longest_s, seen_s = 0.0, clock.now()
    while not answer.done():
        await asyncio.sleep(0)
        longest_s, seen_s = max(longest_s, clock.now() - seen_s), clock.now()
    await answer
    assert longest_s == pytest.approx(PIECE_S)
    assert gzip.decompress(b"".join(sent)) == b"".join(pieces)


class KeptPart:
    """A part that was compressed before."""

    content = b"12345," * 10_000
    is_deflated = True

    def deflated(self) -> Deflated:
        return deflate(self.content)


@pytest.mark.parametrize("token_bytes", [10, 8_000])
async def test_an_answer_of_kept_rows_has_a_length_however_many_series_its_token_is_of(token_bytes: int) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pieces: list[bytes | Part] = [b"t" * token_bytes, KeptPart(), b"}"]
    await Streamed((), pieces, ManualClock(), asyncio.Lock(), gzip=True, in_parts=True).send(send)
    body = b"".join(part for message in sent for part in message.get(PARTS, ()))
    assert dict(sent[0]["headers"])[b"content-length"] == b"%d" % len(body)
    assert gzip.decompress(body) == b"t" * token_bytes + KeptPart.content + b"}"
