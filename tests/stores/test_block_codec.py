"""Encoded and decoded, a block is the same, byte for byte; what is damaged is said to be."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdcache.candles.block import Block, build_block
from mdcache.stores.block_codec import decode, digest, encode
from mdcache.stores.compression import Unreadable, compress, decompress

ROWS = Path(__file__).parent.parent / "fixtures" / "rows"
SERIES = sorted(path for path in ROWS.glob("*/*") if path.is_dir())


def same(one: Block, other: Block) -> bool:
    return (one.index, one.text, one.open_times, one.row_ends) == (
        other.index,
        other.text,
        other.open_times,
        other.row_ends,
    )


def recorded(folder: Path) -> list[bytes]:
    rows = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text())]
    return [json.dumps(row, separators=(",", ":")).encode() for row in rows]


def block_of(rows: list[bytes], divisor: int = 1) -> Block:
    return build_block(7, [(json.loads(row)[0] // divisor, row) for row in rows])


@pytest.mark.parametrize("folder", SERIES, ids=lambda path: "-".join(path.parts[-2:]))
def test_recorded_rows_take_few_bytes(folder: Path) -> None:
    block = block_of(recorded(folder))
    payload = encode(block)
    assert same(decode(7, payload), block)
    assert len(payload) / len(block) <= 50, "those of a month have six digits more than those of an hour"


def test_hours_take_forty_bytes() -> None:
    block = block_of(recorded(ROWS / "BTCUSDT" / "1h"))
    assert len(encode(block)) / len(block) <= 40


decimals = st.sampled_from(["%d", "%.1f", "%.2f", "%.8f"])
numbers = st.one_of(st.integers(-1000, 10**6), st.floats(-1.0, 10.0**9), st.just(0), st.just(10**30))


@st.composite
def tables(draw: st.DrawFn) -> list[bytes]:
    forms = [draw(decimals) for _ in range(12)]
    open_ms, rows = draw(st.integers(0, 10**15)), []
    odd = draw(st.booleans())
    for _ in range(draw(st.integers(1, 12))):
        open_ms += draw(st.sampled_from([60_000, 60_000, 1, 10**9]))
        cells: list[object] = [form % draw(numbers) for form in forms]
        if odd:
            strange = ["-0.00", "007", "1e5", "", "%d", "x", " ", "a, b", "],["]
            cells[draw(st.integers(1, 11))] = draw(st.sampled_from(strange))
        cells[0], cells[6], cells[8] = open_ms, open_ms + draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
        rows.append(json.dumps(cells, separators=(",", ":")).encode())
    return rows


@given(rows=tables(), micros=st.booleans())
def test_any_rows_come_back(rows: list[bytes], micros: bool) -> None:
    if micros:
        rows = [b"[%d000" % json.loads(row)[0] + row[row.index(b",") :] for row in rows]
    block = block_of(rows, 1_000 if micros else 1)
    assert same(decode(7, encode(block)), block)


@given(seed=st.integers(0, 2**32))
def test_damage_is_noticed(seed: int) -> None:
    rng = random.Random(seed)
    block = block_of(recorded(ROWS / "BTCUSDT" / "1h"))
    damaged = bytearray(encode(block))
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
    if rng.random() < 0.3:
        del damaged[rng.randrange(len(damaged)) :]
    try:
        read = decode(7, bytes(damaged))
    except Unreadable:
        return
    assert same(read, block) or digest(read) != digest(block)


NOTHING = compress(b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"T",
        b"T" + encode(block_of(recorded(SERIES[0]))),
        encode(block_of(recorded(SERIES[0]))) + b"T",
        NOTHING,
        compress(b"\1\0\0\0"),
        compress(bytes(8)),
        compress(b"\xff" * 60),
        compress(b"\1\0\0\0\0\0\0\0" + bytes(40)),
        compress(b"\1\0\0\0\xff\xff\xff\xff" + bytes(12)),
        compress(b"\xff\xff\xff\xff\1\0\0\0" + bytes(40)),
    ],
)
def test_what_was_never_encoded_is_refused(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(7, payload)


def test_decompressing_is_bounded() -> None:
    assert decompress(compress(b" " * 1_000), 1_000) == b" " * 1_000
    with pytest.raises(Unreadable, match="1000 bytes"):
        decompress(compress(b" " * 1_000), 999)
