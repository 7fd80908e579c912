"""Zip files of a host that is not believed: none is inflated further than its rows can be, nor read as another."""

import io
import random
import struct
import tracemalloc
import zipfile
from datetime import date

import pytest

from mdcache.dumps.faults import DumpFileFault, DumpUnusable
from mdcache.dumps.files import DumpFile
from mdcache.dumps.zip_reader import check_zip, read_lines
from mdcache.exchange.markets import Market

FILE = DumpFile(Market.SPOT, "BTCUSDT", "1h", date(2024, 1, 1), daily=False)
CSV = "BTCUSDT-1h-2024-01.csv"
LINE = b"1704067200000,1.00000000,2.00000000,0.50000000,1.50000000,9.00000000,1704070799999,1.0,4,1.0,1.0,0\n"


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return stream.getvalue()


def fault(body: bytes) -> DumpFileFault:
    with pytest.raises(DumpUnusable) as caught:
        check_zip(io.BytesIO(body), FILE)
    with pytest.raises(DumpUnusable):
        list(read_lines(io.BytesIO(body), FILE))
    return caught.value.fault


def test_a_bomb_is_inflated_no_further_than_its_rows_can_be() -> None:
    bombs = {
        "zeros": packed((CSV, b"0" * (4 << 20))),
        "lines": packed((CSV, LINE * 40_000)),
        "empty lines": packed((CSV, b"\n" * (4 << 20))),
    }
    tracemalloc.start()
    try:
        for name, bomb in bombs.items():
            assert len(bomb) < FILE.max_bytes, name
            tracemalloc.reset_peak()
            held = tracemalloc.get_traced_memory()[0]
            with pytest.raises(DumpUnusable) as caught:
                check_zip(io.BytesIO(bomb), FILE)
            assert caught.value.fault is DumpFileFault.TOO_LARGE, name
            with pytest.raises(DumpUnusable):
                for _ in read_lines(io.BytesIO(bomb), FILE):
                    pass
            assert tracemalloc.get_traced_memory()[1] - held < len(bomb) + (2 << 20), name
    finally:
        tracemalloc.stop()


def test_a_size_that_is_a_lie_is_found() -> None:
    whole = packed((CSV, b"0" * (4 << 20)))
    size = struct.pack("<I", 4 << 20)
    assert whole.count(size) == 2
    assert fault(whole.replace(size, struct.pack("<I", 100))) in {DumpFileFault.DAMAGED, DumpFileFault.TOO_LARGE}
    small = packed((CSV, LINE * 3))
    stated = struct.pack("<I", len(LINE) * 3)
    grown = small.replace(stated, struct.pack("<I", 0xFFFFFFF0))
    assert list(read_lines(io.BytesIO(grown), FILE)) == [(LINE * 3)[:-1]]  # what there is, which matches its checksum
    assert fault(small.replace(stated, struct.pack("<I", 5))) is DumpFileFault.DAMAGED


@pytest.mark.parametrize(
    "members",
    [
        (("../" + CSV, LINE),),
        (("/etc/" + CSV, LINE),),
        (("C:\\" + CSV, LINE),),
        (("folder/" + CSV, LINE),),
        ((CSV, LINE), ("more.csv", LINE)),
        ((CSV + "/", b""),),
        ((CSV + ".exe", LINE),),
        ((CSV.lower(), LINE),),
        (),
    ],
)
def test_it_has_one_file_of_the_right_name(members: tuple[tuple[str, bytes], ...]) -> None:
    assert fault(packed(*members)) is DumpFileFault.DAMAGED


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_not_tried(method: int) -> None:
    assert fault(packed((CSV, LINE * 10), method=method)) is DumpFileFault.DAMAGED


def test_a_directory_of_many_files_costs_little() -> None:
    """As many as there is room for in the largest file that is taken."""
    entry, end = b"PK\x01\x02" + bytes(42), 22
    count = min((FILE.max_bytes - end) // len(entry), 0xFFFE)
    directory = entry * count
    body = directory + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, len(directory), 0, 0)
    assert fault(body) is DumpFileFault.DAMAGED


def test_any_byte_may_be_wrong() -> None:
    """A changed one is found, but in a few that mean nothing; and whatever comes out are bytes of the text's length."""
    whole, rng = packed((CSV, LINE * 50)), random.Random(1)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        try:
            text = b"\n".join(read_lines(io.BytesIO(damaged), FILE))
        except DumpUnusable:
            continue
        assert text == (LINE * 50)[:-1], at
