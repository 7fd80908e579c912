"""The log's stream: writing a line never fails or blocks, even if its reader fails."""

import os
from pathlib import Path

import pytest

from mdcache.telemetry.log_writer import NonBlockingWriter


def test_lines_arrive_in_order() -> None:
    reader, writer = os.pipe()
    patient = NonBlockingWriter(writer)
    lines = patient.as_text()
    for number in range(100):
        print(f"line {number} \udcff 币", file=lines, flush=True)
    patient.drain(10.0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        assert pipe.read().splitlines() == [f"line {number} \\udcff 币" for number in range(100)]


def test_a_reader_that_ended() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    patient = NonBlockingWriter(writer)
    lines = patient.as_text()
    for _ in range(10):
        print("nobody reads this", file=lines, flush=True)
    patient.drain(10.0)
    assert not patient._thread.is_alive()  # all was taken, and none of it waits for a reader
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        patient = NonBlockingWriter(full.fileno())
        print("there is no room for this", file=patient.as_text(), flush=True)
        patient.drain(10.0)
        assert not patient._thread.is_alive()


def test_a_reader_that_stopped_blocks_nothing_and_loses_only_what_is_too_much() -> None:
    reader, writer = os.pipe()
    patient = NonBlockingWriter(writer, max_queued=4)
    lines = patient.as_text()
    for _ in range(50):
        print("x" * 8_000, file=lines, flush=True)  # more than a pipe holds, and four
    patient.drain(0.01)
    seen = 0
    while seen < 4 * 8_001:
        seen += len(os.read(reader, 65_536))
    os.close(reader)
    patient.drain(10.0)
    assert not patient._thread.is_alive()
    os.close(writer)
