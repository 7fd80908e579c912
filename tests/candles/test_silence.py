"""SilentSpan is claimed where nothing was traded and no frame is missing, and nowhere else."""

import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.silence import SilenceWatch
from mdcache.clock import Instant
from tests.support.examples import examples

T0 = 1_790_771_371_000
SECOND = 1_000


def fed(*frames: tuple[int, str], silence: SilenceWatch | None = None) -> SilenceWatch:
    """What has taken frames: the second of each, and the symbols that it lists."""
    fed = silence or SilenceWatch()
    for second, symbols in frames:
        at_ms = T0 + second * SECOND
        assert fed.take(at_ms, symbols.split(), Instant(at_ms + 30, 20))
    return fed


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (-1, None),  # nobody looked then
        (0, 1),  # listed at 2
        (0.5, 1),
        (1, None),
        (1.999, None),
        (2, 4),
        (2.5, 4),
        (4, 4),
        (9, 4),
    ],
)
def test_silence_lasts_from_the_last_frame_that_lists_a_symbol(since: float, until: int | None) -> None:
    silence = fed((0, "A B"), (1, "B"), (2, "A B"), (3, "B"), (4, "B"))
    proven = None if until is None else T0 + until * SECOND
    assert silence.silent_until_ms("A", T0 + round(since * SECOND)) == proven


def test_a_symbol_was_silent_until_the_frame_before_the_one_that_lists_it() -> None:
    silence = fed((0, "B"), (1, "A B"), (2, "B"), (3, "B"), (4, "A B"), (5, "B"))
    assert silence.silent_until_ms("A", T0 + round(1.3 * SECOND)) == T0 + 3 * SECOND
    assert silence.silent_until_ms("A", T0 + round(3.3 * SECOND)) is None
    assert silence.silent_until_ms("A", T0 + round(0.3 * SECOND)) is None
    fed((6, "A"), (7, "A"), silence=silence)
    assert silence.silent_until_ms("A", T0 + round(1.3 * SECOND)) == T0 + 3 * SECOND, "whatever came later"
    assert silence.silent_until_ms("A", T0 + 4 * SECOND) == T0 + 5 * SECOND
    assert silence.silent_until_ms("A", T0 + 6 * SECOND) is None


def test_eight_listings_are_remembered() -> None:
    silence = fed(*((second, "A" if second % 2 else "B") for second in range(19)))  # listed at 1, 3 … 17
    assert silence.silent_until_ms("A", T0) is None
    assert silence.silent_until_ms("A", T0 + SECOND) is None, "frames are forgotten, too"
    assert silence.silent_until_ms("A", T0 + 3 * SECOND) == T0 + 4 * SECOND


@pytest.mark.parametrize("second", [1, 2, 3])
def test_what_an_older_frame_lists_shortens_the_silence(second: int) -> None:
    silence = fed((0, "B"), (1, "A"), (2, "B"), (3, "B"), (4, "A"))
    silence.take(T0 + second * SECOND, ["A"], Instant(T0 + 9 * SECOND, 20))
    until_ms = silence.silent_until_ms("A", T0 + SECOND)
    assert until_ms == (T0 + 3 * SECOND if second == 1 else None)
    assert silence.silent_until_ms("A", T0 + 3 * SECOND) is None


def test_a_symbol_that_is_never_listed_is_silent_from_the_first_frame_on() -> None:
    silence = fed((0, "B"), (1, "B"), (2, "B"))
    assert silence.silent_until_ms("A", T0 - 1) is None
    assert silence.silent_until_ms("A", T0) == T0 + 2 * SECOND


def test_nothing_is_known_before_the_first_frame() -> None:
    assert SilenceWatch().silent_until_ms("A", T0) is None
    assert SilenceWatch().newest_ms is None


def test_after_an_interruption_the_past_proves_nothing() -> None:
    silence = fed((0, "B"), (1, "B"))
    silence.interrupt()
    assert silence.silent_until_ms("A", T0 + SECOND) is None
    assert silence.newest_ms is None
    fed((2, "B"), silence=silence)
    assert silence.silent_until_ms("A", T0 + SECOND) is None
    assert silence.silent_until_ms("A", T0 + 2 * SECOND) == T0 + 2 * SECOND


@pytest.mark.parametrize(("gap", "proven"), [(3, True), (4, False)])
def test_more_than_three_seconds_without_a_frame_are_a_break(gap: int, proven: bool) -> None:
    silence = fed((0, "B"), (gap, "B"))
    assert (silence.silent_until_ms("A", T0) is not None) is proven
    assert silence.silent_until_ms("A", T0 + gap * SECOND) == T0 + gap * SECOND


@pytest.mark.parametrize("second", [0, 1, 2])
def test_an_older_or_equal_frame_proves_nothing_but_what_it_lists_counts(second: int) -> None:
    silence = fed((0, "B"), (1, "B"), (2, "B"))
    at_ms = T0 + second * SECOND
    assert not silence.take(at_ms, ["A"], Instant(T0 + 9 * SECOND, 20))
    assert silence.newest_ms == T0 + 2 * SECOND
    assert silence.silent_until_ms("A", at_ms) == T0 + 2 * SECOND
    assert (silence.silent_until_ms("A", T0) is None) is (second > 0)


def test_an_older_frame_takes_no_later_listing_back() -> None:
    silence = fed((0, "B"), (1, "B"), (2, "A"))
    silence.take(T0 + SECOND, ["A"], Instant(T0 + 9 * SECOND, 20))
    assert silence.silent_until_ms("A", T0 + SECOND) is None


def test_after_an_interruption_an_old_frame_begins_nothing() -> None:
    silence = fed((0, "B"), (5, "B"))
    silence.interrupt()
    assert not silence.take(T0 + 5 * SECOND, ["B"], Instant(T0 + 9 * SECOND, 20))
    assert silence.silent_until_ms("A", T0 + 5 * SECOND) is None


@pytest.mark.parametrize(("ahead_ms", "taken"), [(1_020, True), (1_021, False)])
def test_a_frame_ahead_of_the_clock_is_refused_and_counts_as_missing(ahead_ms: int, taken: bool) -> None:
    silence = fed((0, "B"))
    assert silence.take(T0 + 2 * SECOND, ["B"], Instant(T0 + 2 * SECOND - ahead_ms, 20)) is taken
    assert (silence.silent_until_ms("A", T0) is not None) is taken
    assert fed((3, "B"), silence=silence).newest_ms == T0 + 3 * SECOND, "it goes on"


def test_names_without_end_don_t_fill_the_memory() -> None:
    silence = fed((0, "B"))
    for second in range(1, 40):
        fed((second, " ".join(f"X{second}N{number}" for number in range(2_000))), silence=silence)
    assert sys.getsizeof(silence._listings) < 2_000_000
    assert len(silence._listings) <= 20_000
    assert silence.silent_until_ms("A", T0) is None, "what was forgotten proves nothing"
    assert silence.silent_until_ms("A", T0 + 39 * SECOND) == T0 + 39 * SECOND


# ------------------------------------------------------------------------------------------ model


class World:
    """All trades and frames of a market, and the frames that were taken since the last break."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        busy = {"B": 0.98, "A": rng.choice([0.0, 0.02, 0.3]), "C": rng.choice([0.1, 0.9])}
        self.seconds = 60
        self.trades = {
            symbol: {
                T0 + second * SECOND + rng.choice([1, 500, 1_000, rng.randrange(1, 1_001)])
                for second in range(self.seconds)
                if rng.random() < chance
            }
            for symbol, chance in busy.items()
        }
        self.taken: list[int] = []

    def listed(self, at_ms: int) -> list[str]:
        """What a frame lists: the symbols traded in the second that it ends."""
        return [symbol for symbol in self.trades if self.traded(symbol, at_ms - SECOND, at_ms)]

    def traded(self, symbol: str, after_ms: int, until_ms: int) -> bool:
        return any(after_ms < trade <= until_ms for trade in self.trades[symbol])

    def expected(self, symbol: str, since_ms: int) -> int | None:
        """The time of the last frame before the one that lists the symbol again, or of the newest."""
        if not self.taken or since_ms < self.taken[0]:
            return None
        pairs = [(earlier, frame) for earlier, frame in pairwise(self.taken) if self.traded(symbol, earlier, frame)]
        after = [earlier for earlier, frame in pairs if frame > since_ms]
        if len(after) > 8 or (after and after[0] not in self.taken[-16:]):
            return None  # of each symbol, eight listings are remembered, and of frames sixteen
        until_ms = after[0] if after else self.taken[-1]
        return until_ms if until_ms > since_ms or not after else None


@given(seed=st.integers(0, 2**32))
@examples(200)
def test_silence_is_claimed_exactly_where_frames_prove_it(seed: int) -> None:
    rng = random.Random(seed)
    world, silence = World(rng), SilenceWatch()
    outage_until = 0
    for second in range(1, world.seconds + 1):
        at_ms = T0 + second * SECOND
        now = Instant(at_ms + rng.randrange(-100, 900), 150)
        listed = world.listed(at_ms)
        dice = rng.random()
        if second < outage_until or not listed:
            continue
        if world.taken and at_ms - world.taken[-1] > 3 * SECOND:
            world.taken = []
        if dice < 0.03:
            outage_until = second + 4  # the topic dies, and nobody says so
            continue
        if dice < 0.08:
            silence.interrupt()
            world.taken = []
            continue
        if dice < 0.1:
            assert not silence.take(at_ms + 5 * SECOND, listed, now)
            world.taken = []
            continue
        if dice < 0.3 and world.taken:
            old_ms = rng.choice(world.taken)
            assert not silence.take(old_ms, world.listed(old_ms), now)
        assert silence.take(at_ms, listed, now)
        world.taken.append(at_ms)
        for _ in range(4):
            symbol = rng.choice("ABC")
            since_ms = rng.choice([at_ms - rng.randrange(0, 20) * SECOND, rng.randrange(T0, at_ms + 1)])
            since_ms += rng.choice([-1, 0, 0, 1])
            until_ms = silence.silent_until_ms(symbol, since_ms)
            assert until_ms == world.expected(symbol, since_ms)
            assert until_ms is None or not world.traded(symbol, since_ms, until_ms)
