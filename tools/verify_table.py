"""docs/verify.md, made from the classes of the assumptions."""

from mdcache.exchange.markets import Market
from mdcache.verify.allowance import MOST_WEIGHT
from mdcache.verify.registry import ASSUMPTIONS, chosen

HEAD = """\
# Verifying Binance

What mdcache knows about Binance is from documents and from other people's measurements, and some of these contradict
one another. `mdcache verify` measures on the live exchange, from your address, whether it is so:

```console
$ mdcache verify                            # all of it: one to two minutes, as it waits for two minutes to end
$ mdcache verify --quick                    # without the closes: half a minute
$ mdcache verify --market usdm --only lag   # some facts, by parts of their names
$ mdcache verify --json | jq '.facts[] | select(.verdict == "differs")'
```

It prints a table of what is assumed, what was seen and the verdict, with what follows where something differs. It exits
with 0 if all is as assumed, with 1 if something differs or the profile can't be written, and with 3 if nothing differs
but something could not be measured: the table says why. What was measured is written to
`STATE_DIR/exchange-profile.json`, which `mdcache sim --profile` plays and `serve` reads at its next start: [what it
takes of it](operating.md#the-exchange-profile). A run of some facts or markets leaves the others in that file as they
were; one that measured nothing leaves it alone.

**It is safe to run, also beside a running daemon.** A whole run asks for a weight of {planned} over all markets. It
can't pass {most}, counted as documented or as the usage header shows it, whichever is more. No limit is tried out.
One question at a time goes to spot and one to futures (at closes, one to each market), and streams are connected to at
the daemon's pace. A family is asked no more after the first 403, 418, 429 or 451; then the next run and the next
start of `serve` obey what was said, too (a daemon that runs will see it itself). While the daemon's gate is closed,
such as by a ban, nothing is sent at all, and nothing more once the address uses more than its share (`WEIGHT_SHARE`).
Without a network, a run ends after some seconds.

Others who use the address at the same time only make the usage header grow: a weight that is not as documented counts
only if it was seen twice, or if nobody else seems to use the address.

## Assumptions

Weights are the most that a measurement asks for, on spot, USD-M and COIN-M; a dash: the market does not have it.
What is read in replies to other questions weighs nothing.

| Facts | Assumed | Measured | Weight | If it differs |
|---|---|---|---|---|
"""
TAIL = """
Not asked for, because each would weigh too much: {left_out}.
"""


def text() -> str:
    """Return the whole page."""
    planned = sum(each.cost for each in chosen(tuple(Market)))
    lines = [HEAD.format(planned=planned, most=MOST_WEIGHT)]
    for kind in ASSUMPTIONS:
        facts = ", ".join(f"`{name}`" for name in kind.facts)
        weights = ", ".join(str(kind.costs.get(market, "–")) for market in Market)
        lines.append(f"| {facts} | {kind.assumed} | {kind.how} | {weights} | {kind.follows} |\n")
    left_out = sorted(key for kind in ASSUMPTIONS for key in kind.left_out)
    lines.append(TAIL.format(left_out=", ".join(f"`{key}`" for key in left_out)))
    return "".join(lines)
