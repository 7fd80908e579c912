"""Divisions merge to exactly what was divided, whatever it was, and no part needs more trades than it has."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mdcache.sim.prices.node import DRAW, EMPTY, Node, Scale, draws_needed, merge, share, split


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    """Nodes whose trades can explain their prices."""
    trades = draw(st.one_of(st.integers(1, 12), st.integers(1, 5_000)))
    low = draw(st.integers(1, 10**7))
    span = draw(st.integers(0, low))
    open_, close = (draw(st.integers(low, low + span)) for _ in range(2))
    if trades == 1:
        close = open_
    high = low + span if trades > 2 else max(open_, close)
    low = low if trades > 3 else min(open_, close)
    volume = trades + draw(st.integers(0, 10**9))
    taker = draw(st.integers(0, volume))
    middle = open_ + high + low + close
    return Node(
        trades, open_, high, low, close, taker, volume - taker, taker * middle // 4, (volume - taker) * middle // 4
    )


def needed(node: Node) -> int:
    """The fewest trades that can have these prices."""
    ends = {node.open, node.close}
    return len(ends) + len({node.high, node.low} - ends)


@given(node=nodes(), count=st.sampled_from((4, 24, 60)), seed=st.integers(0, 10**6), inverse=st.booleans())
def test_parts_merge_to_the_whole(node: Node, count: int, seed: int, inverse: bool) -> None:
    random = Random(seed)
    draws = [random.randrange(DRAW) for _ in range(draws_needed(count))]
    scale = Scale(10**8 if inverse else 1, inverse=inverse)
    parts = split(node, count, draws, even=False, scale=scale)
    assert len(parts) == count
    assert merge(parts) == node
    for part in parts:
        if part is EMPTY:
            continue
        assert needed(part) <= part.trades
        assert part.low <= min(part.open, part.close) <= max(part.open, part.close) <= part.high
        assert part.taker + part.maker >= part.trades
        assert min(part[5:]) >= 0


@given(trades=st.sampled_from((1, 4, 12, 60, 720, 3600, 17_280, 86_400)), count=st.sampled_from((4, 24, 60)))
def test_samples_are_spread_evenly(trades: int, count: int) -> None:
    draws = [17 * place % DRAW for place in range(draws_needed(count))]
    node = Node(
        trades, -5, -5 if trades == 1 else 900, -5 if trades == 1 else -800, -5 if trades == 1 else 3, 0, 0, 0, 0
    )
    parts = split(node, count, draws, even=True, scale=Scale(1, inverse=False))
    assert merge(parts) == node
    assert max(part.trades for part in parts) - min(part.trades for part in parts) <= 1


@given(total=st.integers(0, 10**12), weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    shares = share(total, weights)
    assert sum(shares) == (total if any(weights) else 0)
    assert all(part == 0 for part, weight in zip(shares, weights, strict=True) if not weight)


def test_nothing_divides_into_nothing() -> None:
    assert split(EMPTY, 4, [0] * 64, even=False, scale=Scale(1, inverse=False)) == (EMPTY,) * 4
    assert merge([EMPTY, EMPTY]) == EMPTY
