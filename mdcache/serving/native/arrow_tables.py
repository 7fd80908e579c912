"""Print rows as Apache Arrow's stream; it needs the extra `mdcache[arrow]` (docs/native-api.md#arrow).

Times are timestamps in UTC. Numbers that Binance sends as text are decimals with room for any of them, so that none is
rounded; one that does not fit ends the stream with an error, never a wrong value.
"""

import ctypes
import functools
import importlib.util
import io
import os
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from mdcache.exchange.klines import SeriesKey
from mdcache.serving.native.tables import COLUMNS

MEDIA_TYPE = "application/vnd.apache.arrow.stream"
HINT = "Arrow is served where the daemon was installed with `pip install mdcache[arrow]`."
DECIMAL_DIGITS, DECIMAL_PLACES = 38, 18  # Binance prints 8 places
_TIMES, _COUNTS, _FLAGS = frozenset({"open_time", "close_time"}), frozenset({"trades"}), frozenset({"closed"})
_NAMES = ("market", "symbol", "interval")
_METADATA = b"mdcache"
_BATCH_ROWS = 500  # are parsed in a millisecond or so
_SHAPES = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_LONG = b"0" * (DECIMAL_DIGITS - DECIMAL_PLACES + 1)


@functools.cache
def is_installed() -> bool:
    """Return whether the extra is there, without importing it."""
    return importlib.util.find_spec("pyarrow") is not None


@functools.cache
def _load_shared_objects() -> None:
    """Load what the import would, without the interpreter's lock: other threads go on for the 15 ms that this takes."""
    spec = importlib.util.find_spec("pyarrow")
    if spec is None or spec.origin is None or not hasattr(os, "RTLD_NOW"):  # Windows has another way
        return
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    for name in ("lib", "_csv"):
        for suffix in EXTENSION_SUFFIXES:
            load(os.fsencode(Path(spec.origin).with_name(name + suffix)), os.RTLD_NOW)


class ArrowTable:
    """One table, printed piece by piece. The first one imports the library, which takes a moment: make it in a thread.

    Args:
        keys: The series it may have rows of.
    """

    def __init__(self, keys: Sequence[SeriesKey]) -> None:
        _load_shared_objects()
        import pyarrow as pa  # noqa: PLC0415 - an extra, and the memory of those who don't ask for it
        import pyarrow.csv  # noqa: PLC0415 - the same

        self._pa: Any = pa
        self._names = [list(dict.fromkeys(names)) for names in zip(*map(_names, keys), strict=True)]
        name = pa.dictionary(pa.int32(), pa.utf8())
        types = {column: _type(pa, column) for column in COLUMNS}
        self._schema = pa.schema([(column, name) for column in _NAMES] + list(types.items()))
        self._dictionaries = [pa.array(names, pa.utf8()) for names in self._names]
        self._read = pa.csv.ReadOptions(column_names=COLUMNS, use_threads=False)
        read_as = types | {column: pa.int64() for column in _TIMES}
        self._convert = pa.csv.ConvertOptions(
            column_types=read_as, null_values=[], true_values=["true"], false_values=["false"]
        )
        self._sink = io.BytesIO()
        self._writer: Any = None

    def start(self, about: bytes) -> bytes:
        """Return what comes before the first batch. `about`: what the answer says beside its rows, as JSON."""
        self._writer = self._pa.ipc.new_stream(self._sink, self._schema.with_metadata({_METADATA: about}))
        return self._written()

    def batches(self, printed: bytes, key: SeriesKey) -> Iterator[bytes]:
        """Return rows of a series, some at a time. Raise `ValueError` if a number does not fit.

        Args:
            printed: The rows as `json_rows` prints them.
            key: The series.
        """
        lines = printed[1:-1].split(b"],[")
        for start in range(0, len(lines), _BATCH_ROWS):
            yield self._batch(b"\n".join(lines[start : start + _BATCH_ROWS]), key)

    def _batch(self, lines: bytes, key: SeriesKey) -> bytes:
        pa = self._pa
        if _TOO_LONG in lines.translate(_SHAPES):  # which the library would cut
            raise ValueError(f"a number of {key} is longer than a decimal of {DECIMAL_DIGITS} digits")
        self._read.block_size = len(lines) + 1  # one batch
        (rows,) = pa.csv.read_csv(pa.BufferReader(lines), self._read, None, self._convert).to_batches()
        columns = [
            pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(names.index(name), pa.int32()), len(rows)), dictionary)
            for name, names, dictionary in zip(_names(key), self._names, self._dictionaries, strict=True)
        ]
        for field, column in zip(list(self._schema)[len(columns) :], rows.columns, strict=True):
            # a cast would load more of the library, for 30 ms
            columns.append(column.view(field.type) if field.name in _TIMES else column)
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        return self._written()

    def end(self) -> bytes:
        """Return what comes after the last batch."""
        self._writer.close()
        return self._written()

    def _written(self) -> bytes:
        written = self._sink.getvalue()
        self._sink.seek(0)
        self._sink.truncate()
        return written


def _names(key: SeriesKey) -> tuple[str, str, str]:
    return key.market.value, key.subject, key.interval


def _type(pa: Any, column: str) -> Any:  # noqa: ANN401 - of a library that ships no types
    if column in _TIMES:
        return pa.timestamp("ms", "UTC")
    if column in _COUNTS:
        return pa.int64()
    return pa.bool_() if column in _FLAGS else pa.decimal128(DECIMAL_DIGITS, DECIMAL_PLACES)
