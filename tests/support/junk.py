"""Junk in place of good JSON: one value, one name or one byte of a body is not as documented."""

import json
import random
from typing import Any

_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    7,
    10**19,
    10**30,
    1.5,
    "",
    "NaN",
    "1.5",
    [],
    {},
    [[]],
    [None],
    {"a": []},
)
_BYTES = (b"\xff", b"\x00", b'"', b"[", b"]", b"{", b",", b" ", b"1e400")
_DEEP = b"[" * 20_000 + b"]" * 20_000
_ODD_VALUES = (_DEEP, b'"\xff"', b"1e400", b'"\\ud800"')


def junk(good: bytes, rng: random.Random) -> bytes:
    """Return `good` with one thing wrong, and now and then nothing at all."""
    kind = rng.randrange(6)
    if kind == 0:
        at = rng.randrange(len(good))
        return good[:at] + rng.choice(_BYTES) + good[at + rng.randrange(2) :]
    if kind == 1:
        return _DEEP
    tree = [json.loads(good)]
    holder, key = _any_place(tree, rng)
    if kind == 2:
        holder[key] = "@@"
        return _printed(tree[0]).replace(b'"@@"', rng.choice(_ODD_VALUES))
    if kind == 3 and isinstance(holder, dict):
        value = holder.pop(key)
        if rng.random() < 0.5:
            holder[key + "x"] = value
    elif kind == 4 and isinstance(holder[key], list):
        rng.shuffle(holder[key])
        holder[key] += rng.sample(_VALUES, rng.randrange(3))
    else:
        holder[key] = rng.choice(_VALUES)
    return _printed(tree[0])


def _any_place(tree: Any, rng: random.Random) -> tuple[Any, Any]:
    """Return a list or an object inside of `tree`, and the index or name of one of its values."""
    holder, key = tree, 0
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.8:
        holder = holder[key]
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    return holder, key


def _printed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
