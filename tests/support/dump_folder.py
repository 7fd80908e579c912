"""Dump files as Binance publishes them, made of rows that REST shows, in a mirror of the dump host."""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from mdcache.exchange.markets import Market

HEADER = (
    b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
_FOLDERS = {Market.SPOT: "spot", Market.USDM: "futures/um", Market.COINM: "futures/cm"}


def csv_lines(body: bytes, *, micros: bool = False) -> list[bytes]:
    """The lines of a file with the rows of a REST body; `micros`: as spot's since 2025."""
    found = [row.replace(b'"', b"").split(b",") for row in body[2:-2].split(b"],[")] if body != b"[]" else []
    for row in found if micros else ():
        row[0], row[6] = row[0] + b"000", row[6] + b"999"
    return [b",".join(row) for row in found]


def zipped(name: str, lines: Sequence[bytes]) -> bytes:
    """A zip file with one CSV."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(
            zipfile.ZipInfo(name.removesuffix(".zip") + ".csv"),
            b"".join(line + b"\n" for line in lines),
            zipfile.ZIP_DEFLATED,
        )
    return file.getvalue()


@dataclass(frozen=True)
class MirrorOfDumps:
    """A mirror in `root`, or if it is `flat`, a folder of files."""

    root: Path
    flat: bool = False

    def put(
        self, market: Market, symbol: str, interval: str, first: date, lines: Sequence[bytes], *, daily: bool = False
    ) -> Path:
        """Write a file and its checksum; return its path."""
        period = first.isoformat() if daily else f"{first:%Y-%m}"
        name = f"{symbol}-{interval}-{period}.zip"
        where = f"data/{_FOLDERS[market]}/{'daily' if daily else 'monthly'}/klines/{symbol}/{interval}/{name}"
        path = self.root / (name if self.flat else where)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.write(path, zipped(name, lines))
        return path

    def write(self, path: Path, body: bytes, checksum_of: bytes | None = None) -> None:
        """Write a file, and the checksum of it or of another one."""
        path.write_bytes(body)
        digest = hashlib.sha256(body if checksum_of is None else checksum_of).hexdigest()
        path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")
