"""A block's base and the rows appended to it: what is written when, and that nothing else is taken for it."""

import pytest

from mdcache.candles.block import Block
from mdcache.candles.persistence import StoredBlock
from mdcache.stores.block_codec import decode, encode
from mdcache.stores.block_parts import (
    MAX_APPENDED_ROWS,
    BlockRecord,
    Parts,
    assemble,
    decode_record,
    encode_record,
    split,
)
from mdcache.stores.compression import Unreadable
from tests.support.disk_row_store import stored_block

KNOWN = ((0, 10),)


def block(count: int, first: int = 0, close: str = "2.00") -> Block:
    return stored_block(3, count, first, close).block


def written(rows: Block, stored: BlockRecord | None = None) -> Parts:
    parts = split(StoredBlock(rows, KNOWN), {}, stored)
    assert parts is not None
    return parts


def same(one: Block, other: Block) -> bool:
    return (one.text, one.open_times, one.row_ends) == (other.text, other.open_times, other.row_ends)


def test_a_new_block_is_all_base() -> None:
    parts = written(block(100))
    assert (parts.record.rows, parts.record.base_rows, parts.appended) == (100, 100, b"")
    assert parts.base is not None
    assert same(assemble(3, parts.record, parts.base, b""), block(100))


def test_new_rows_are_appended_until_they_are_too_many() -> None:
    first = written(block(100))
    assert first.base is not None
    record = first.record
    for count in (101, 102, 100 + MAX_APPENDED_ROWS):
        parts = written(block(count), record)
        assert parts.base is None
        assert len(decode(3, parts.appended)) == count - 100
        record = parts.record
        assert same(assemble(3, record, first.base, parts.appended), block(count))
    parts = written(block(101 + MAX_APPENDED_ROWS), record)
    assert parts.base is not None
    assert parts.record.base_rows == 101 + MAX_APPENDED_ROWS


@pytest.mark.parametrize(
    "changed",
    [block(100, close="2.50"), block(99), block(99, 1), block(100, 1)],
    ids=["other", "fewer", "later", "moved"],
)
def test_a_base_that_changed_is_written_anew(changed: Block) -> None:
    assert written(changed, written(block(100)).record).base is not None


def test_what_is_stored_already_is_not_written() -> None:
    record = written(block(100)).record
    assert split(StoredBlock(block(100), KNOWN), {}, record) is None
    assert split(StoredBlock(block(100), KNOWN, from_dumps=KNOWN), {}, record) is not None
    only_known = split(StoredBlock(block(100), ((0, 11),)), {}, record)
    assert only_known is not None
    assert only_known.base is None
    assert split(StoredBlock(block(100), KNOWN), {0: 5}, record) is not None


def test_a_base_may_come_from_a_block_of_our_own() -> None:
    parts = written(block(12, 2), written(block(10, 2)).record)
    assert same(assemble(3, parts.record, block(13), parts.appended), block(12, 2))
    with pytest.raises(Unreadable, match="too few"):
        assemble(3, parts.record, block(5, 2), parts.appended)
    with pytest.raises(Unreadable, match="checksum"):
        assemble(3, parts.record, block(20, close="2.50"), parts.appended)


def test_other_rows_are_not_taken_for_the_block() -> None:
    parts = written(block(100))
    with pytest.raises(Unreadable, match="checksum"):
        assemble(3, parts.record, encode(block(100, close="2.50")), b"")
    with pytest.raises(Unreadable, match="checksum"):
        assemble(3, parts.record, encode(block(100)), encode(block(1, 100)))


def test_a_record_is_that_of_one_series_and_block() -> None:
    record = written(block(100)).record
    raw = encode_record(b"series", 3, record)
    assert decode_record(b"series", 3, raw) == record
    flipped = raw[:4] + bytes([raw[4] ^ 1]) + raw[5:]
    for identity, index, other in ((b"series", 4, raw), (b"serie", 3, raw), (b"series", 3, flipped), (b"series", 3, 7)):
        with pytest.raises(Unreadable, match="checksum"):
            decode_record(identity, index, other)
