"""Nodes: the trades of a span summed up in integers, which can be divided and merged without rounding.

Candles are made from the top down: a day's totals are drawn from the seed and divided into hours, minutes, seconds and
quarter seconds, always so that the parts merge to exactly the same node. Everything is an integer in the smallest
printed unit; this module does not know time, symbols or decimal points.

Invariant of every division: a part with n trades needs no more than n of them to explain its open, high, low and close.
If few trades are left, they are therefore drawn one by one.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import isqrt
from typing import NamedTuple

DRAW = 1 << 16  # draws are uniform in [0, DRAW)
HIGH_FROM = 3  # trades needed for a high beyond open and close ...
LOW_FROM = 4  # ... and for a low as well
RATE_BITS = 40  # rates of turnover are in units of 2^-40, so that divisions by prices lose no printed digit


class Node(NamedTuple):
    """A span of trading: trades, prices, and taker-side and maker-side volume and turnover."""

    trades: int
    open: int
    high: int
    low: int
    close: int
    taker: int
    maker: int
    taker_quote: int
    maker_quote: int


EMPTY = Node(0, 0, 0, 0, 0, 0, 0, 0, 0)


class Scale(NamedTuple):
    """The value of a unit of volume: price times `factor`, or `factor` over price (`inverse`, coinm)."""

    factor: int
    inverse: bool

    def rates(self, prices: Iterable[int]) -> list[int]:
        """Return the turnover of a unit of volume in 2^-RATE_BITS, at a quarter of each sum of four prices."""
        if self.inverse:
            whole = 4 * self.factor << RATE_BITS
            return [whole // price for price in prices]
        return [price * self.factor << RATE_BITS - 2 for price in prices]


def merge(parts: Iterable[Node]) -> Node:
    """Return the candle of consecutive spans; those without trades do not count."""
    live = [part for part in parts if part[0]]
    if len(live) <= 1:
        return live[0] if live else EMPTY
    trades, opens, highs, lows, closes, taker, maker, taker_quote, maker_quote = zip(*live, strict=True)
    return Node(
        sum(trades), opens[0], max(highs), min(lows), closes[-1],
        sum(taker), sum(maker), sum(taker_quote), sum(maker_quote),
    )  # fmt: skip


def share(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` by weights into integers that add up to it; weight 0 gets 0."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    shares, before = [], 0
    for reached in accumulate(weights):
        upto = total * reached // whole
        shares.append(upto - before)
        before = upto
    return shares


def split(node: Node, count: int, draws: Sequence[int], *, even: bool, scale: Scale) -> tuple[Node, ...]:
    """Divide into `count` parts that merge to exactly `node`.

    `draws`: at least `draws_needed(count)` random numbers. `even`: samples at regular distances (index, mark,
    premium) instead of trades at random ones. `scale`: the value of volume.
    """
    if not node.trades:
        return (EMPTY,) * count
    if node.trades <= 4 * count:
        return _draw_trades(node, count, draws, even=even, scale=scale)
    return _divide(node, count, draws, even=even, scale=scale)


def draws_needed(count: int) -> int:
    """Return how many draws one division into `count` parts may use."""
    return 16 * count


def _divide(node: Node, count: int, draws: Sequence[int], *, even: bool, scale: Scale) -> tuple[Node, ...]:
    """Divide many trades: each part gets a share of them and a piece of a random path from open to close."""
    weights = [1] * count if even else [12_000 + draw for draw in draws[:count]]
    numbers = share(node.trades, weights)
    active = [index for index, number in enumerate(numbers) if number]
    trades = [numbers[index] for index in active]
    prices = _path(node, trades, draws[count : 5 * count])
    volumes = _volumes(node, trades, draws[5 * count : 7 * count])
    parts = [EMPTY] * count
    for index, part in zip(active, _assemble(node, trades, prices, volumes, scale), strict=True):
        parts[index] = part
    return tuple(parts)


Prices = tuple[int, int, int, int]


def _path(node: Node, trades: Sequence[int], draws: Sequence[int]) -> list[Prices]:
    """Return (open, high, low, close) of each part: a bridge from open to close inside [low, high]."""
    count = len(trades)
    _, start, top, bottom, end, *_ = node
    span = top - bottom
    ways = _bridge(node, count, draws)
    ways = [way if bottom <= way <= top else min(top, max(bottom, way)) for way in ways]
    wick = span // (2 * isqrt(count)) + 1
    gap = span // (16 * count) + 1
    prices: list[Prices] = []
    previous = start
    for index, number in enumerate(trades):
        up, down, jump = draws[count + index], draws[2 * count + index], draws[3 * count + index]
        close = end if index == count - 1 else ways[index]
        open_ = start if index == 0 else previous + gap * (2 * jump - DRAW) // DRAW
        if not bottom <= open_ <= top:
            open_ = min(top, max(bottom, open_))
        if number == 1:
            open_ = close = start if index == 0 else close
        high, low = (open_, close) if close < open_ else (close, open_)
        if number >= HIGH_FROM:
            high = min(top, high + wick * up // DRAW)
        if number >= LOW_FROM:
            low = max(bottom, low - wick * down // DRAW)
        prices.append((open_, high, low, close))
        previous = close
    able = [index for index, number in enumerate(trades) if number >= LOW_FROM]  # one at least: trades > 4 x count
    highest = max(able, key=lambda index: prices[index][1])
    open_, _, low, close = prices[highest]
    prices[highest] = (open_, top, low, close)
    lowest = min(able, key=lambda index: prices[index][2])
    open_, high, _, close = prices[lowest]
    prices[lowest] = (open_, high, bottom, close)
    return prices


def _bridge(node: Node, count: int, draws: Sequence[int]) -> list[int]:
    """Return a random walk from open to close whose mean is the node's middle price, where its average trade was."""
    _, start, top, bottom, end, *_ = node
    steps = list(accumulate(draw - DRAW // 2 for draw in draws[:count]))
    walk = [step - steps[-1] * (index + 1) // count for index, step in enumerate(steps)]
    reach = max(1, *map(abs, walk))
    away = [(top - bottom) * 2 * step // (5 * reach) for step in walk]
    wanted = (top + bottom - start - end) // 4
    lift = 6 * (wanted - sum(away) // count)  # the mean of lift * x * (1 - x) is lift / 6
    return [
        start + (end - start) * place // count + step + lift * place * (count - place) // (count * count)
        for place, step in enumerate(away, 1)
    ]


def _volumes(node: Node, trades: Sequence[int], draws: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (taker, maker) volume of each part: at least one unit a trade, taker's part varying."""
    total = node.taker + node.maker
    if not total:
        return [(0, 0)] * len(trades)
    count = len(trades)
    weights = [number * (8000 + draw) for number, draw in zip(trades, draws, strict=False)]
    volumes = [n + more for n, more in zip(trades, share(total - node.trades, weights), strict=True)]
    taker = share(node.taker, volumes)
    for one in range(0, count - 1, 2):
        other = one + 1
        draw = draws[count + one]
        if draw & 1:
            one, other = other, one  # noqa: PLW2901 - the swap is drawn
        moved = min(volumes[one] - taker[one], taker[other]) * draw // (3 * DRAW)
        taker[one] += moved
        taker[other] -= moved
    return [(part, volume - part) for part, volume in zip(taker, volumes, strict=True)]


def _assemble(
    node: Node,
    trades: Sequence[int],
    prices: Sequence[Prices],
    volumes: Sequence[tuple[int, int]],
    scale: Scale,
) -> list[Node]:
    """Add turnover so that each part's average price lies between its low and its high, if possible."""
    if not node.taker + node.maker:
        return [Node(number, *price, 0, 0, 0, 0) for number, price in zip(trades, prices, strict=True)]
    rates = scale.rates(map(sum, prices))
    taker, maker = ([pair[side] for pair in volumes] for side in (0, 1))
    taker = _levelled(taker, _spare(taker, maker, trades), rates, node.taker_quote)
    maker = _levelled(maker, _spare(taker, maker, trades), rates, node.maker_quote)
    taker_quote = _turnover(taker, rates, prices, node.taker_quote, scale)
    maker_quote = _turnover(maker, rates, prices, node.maker_quote, scale)
    return [
        Node(number, *price, *rest)
        for number, price, *rest in zip(trades, prices, taker, maker, taker_quote, maker_quote, strict=True)
    ]


def _spare(taker: Sequence[int], maker: Sequence[int], trades: Sequence[int]) -> list[int]:
    """Return the volume that each part can lose and still have a unit per trade."""
    return [one + other - number for one, other, number in zip(taker, maker, trades, strict=True)]


def _levelled(volumes: list[int], spare: Sequence[int], rates: Sequence[int], total: int) -> list[int]:
    """Move volume between low-priced and high-priced parts until its value is about `total`; `spare`: at most."""
    whole = sum(volumes)
    if not whole:
        return volumes
    worth = sum(volume * rate for volume, rate in zip(volumes, rates, strict=True))
    lacking, mean = (total << RATE_BITS) - worth, worth // whole
    above = [volume if rate > mean else 0 for volume, rate in zip(volumes, rates, strict=True)]
    below = [volume - high for volume, high in zip(volumes, above, strict=True)]
    givers, takers = (below, above) if lacking > 0 else (above, below)
    givers = [min(volume, most) for volume, most in zip(givers, spare, strict=True)]
    given, taken = sum(givers), sum(takers)
    if not given or not taken:
        return volumes
    dear = sum(volume * rate for volume, rate in zip(takers, rates, strict=True)) // taken
    cheap = sum(volume * rate for volume, rate in zip(givers, rates, strict=True)) // given
    moved = min(given, abs(lacking) // max(1, abs(dear - cheap)))
    minus, plus = share(moved, givers), share(moved, takers)
    return [volume - less + more for volume, less, more in zip(volumes, minus, plus, strict=True)]


def _turnover(
    volumes: Sequence[int], rates: Sequence[int], prices: Sequence[Prices], total: int, scale: Scale
) -> list[int]:
    """Divide a turnover: each part's volume at its middle price; the rest by the room up to its limits."""
    if not total:
        return [0] * len(volumes)
    base = [volume * rate >> RATE_BITS for volume, rate in zip(volumes, rates, strict=True)]
    missing = total - sum(base)
    edge = 1 if (missing > 0) != scale.inverse else 2  # towards the high, or the low
    limits = scale.rates([4 * price[edge] for price in prices])
    room = [
        abs((volume * limit >> RATE_BITS) - worth) for volume, limit, worth in zip(volumes, limits, base, strict=True)
    ]
    if abs(missing) > sum(room):
        return share(total, [volume * rate for volume, rate in zip(volumes, rates, strict=True)])
    sign = 1 if missing > 0 else -1
    return [worth + sign * part for worth, part in zip(base, share(abs(missing), room), strict=True)]


def _draw_trades(node: Node, count: int, draws: Sequence[int], *, even: bool, scale: Scale) -> tuple[Node, ...]:
    """Divide few trades: place each, then merge those that fall into one part."""
    number = node.trades
    if even:
        slots = [index * count // number for index in range(number)]
    else:
        slots = sorted(draw * count // DRAW for draw in draws[:number])
    made = singles(node, draws[4 * count : 8 * count], draws[8 * count :], scale)
    groups: list[list[Node]] = [[] for _ in range(count)]
    for slot, trade in zip(slots, made, strict=True):
        groups[slot].append(trade)
    return tuple(merge(group) if group else EMPTY for group in groups)


def singles(node: Node, ways: Sequence[int], draws: Sequence[int], scale: Scale) -> list[Node]:
    """Return one node per trade; `ways` are draws for the prices, `draws` (twice as many) for the sizes."""
    prices = _trade_prices(node, ways)
    sizes = _trade_sizes(node, draws)
    return _assemble(node, [1] * node.trades, [(p, p, p, p) for p in prices], sizes, scale)


def _trade_prices(node: Node, draws: Sequence[int]) -> list[int]:
    """Return one price per trade: open first, close last, high and low between, unless they equal one of these."""
    number, start, top, bottom, end, *_ = node
    if number == 1:
        return [start]
    prices = [min(top, max(bottom, price)) for price in _bridge(node, number, draws)]
    prices[0], prices[-1] = start, end
    inner = number - 2
    extremes = [price for price in (top, bottom) if price not in (start, end)]
    if extremes:
        first = 1 + draws[0] % inner
        second = 1 + (first - 1 + 1 + draws[-1] % max(1, inner - 1)) % inner
        for place, price in zip((first, second), extremes, strict=False):
            prices[place] = price
    return prices


def _trade_sizes(node: Node, draws: Sequence[int]) -> list[tuple[int, int]]:
    """Return the (taker, maker) size of each trade, at least one unit; all but one are entirely one or the other."""
    number, total = node.trades, node.taker + node.maker
    if not total:
        return [(0, 0)] * number
    sizes = [1 + more for more in share(total - number, [1 + draw for draw in draws[:number]])]
    pairs = [(0, 0)] * number
    left = node.taker
    for index in sorted(range(number), key=lambda index: draws[number + index]):
        taken = min(left, sizes[index])
        left -= taken
        pairs[index] = (taken, sizes[index] - taken)
    return pairs
