"""The file of settled rows: SQLite, in WAL mode, used by one thread only. Raises what SQLite raises.

    series   (origin, key) → its bare spans and voids, with a checksum
    span     a block's place: which parts of its span are known, how many rows, the checksums of all that
    base     the block's rows, encoded; written anew when rows changed or many were added
    young    the rows that were added since: a row that settles each minute does not rewrite a thousand

One change of a series is one transaction. `synchronous` is NORMAL: after kill -9 all that was committed is there;
after a loss of power the last commits may be missing (up to the last checkpoint), never parts of one.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

import msgspec
import xxhash

from mdcache.candles.atrest import Change, Kept, Outline, Span, Which
from mdcache.candles.block import Block
from mdcache.candles.voids import Void
from mdcache.exchange.markets import Market
from mdcache.exchange.questions import SeriesKey
from mdcache.stores.codec import Unreadable, decode, digest, encode

VERSION = 1
APPLICATION = 0x6D646361  # "mdca": tells this file from others in `PRAGMA application_id`
YOUNG_ROWS = 64  # more of them, and the base is written anew: 1.5 to 4 kB a minute for a series of minutes
_DROPPED_AT_ONCE = 64  # blocks that a full disk gives up before it is looked at again
_LOW_WATER = 0.95  # of the bound, so that not every commit has to give something up
_WAL_BYTES = 16 << 20  # the log is cut back to it after a checkpoint

# What turns a file of version n into one of n + 1, beginning with version 1's own making.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE series (
        id INTEGER PRIMARY KEY, origin TEXT NOT NULL, market TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
        contract_type TEXT NOT NULL, interval TEXT NOT NULL, zone_minutes INTEGER NOT NULL, micros INTEGER NOT NULL,
        state BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (origin, market, kind, subject, contract_type, interval, zone_minutes, micros)
    );
    CREATE TABLE span (
        id INTEGER PRIMARY KEY, series INTEGER NOT NULL, idx INTEGER NOT NULL, known BLOB NOT NULL,
        base_rows INTEGER NOT NULL, base_bytes INTEGER NOT NULL, base_digest INTEGER NOT NULL,
        young_rows INTEGER NOT NULL, young_digest INTEGER NOT NULL, sum INTEGER NOT NULL, asked INTEGER NOT NULL,
        UNIQUE (series, idx)
    );
    CREATE INDEX span_asked ON span (asked);
    CREATE TABLE base (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    CREATE TABLE young (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
    """,
)

Connect = Callable[[Path], sqlite3.Connection]


class Newer(Exception):
    """The file is of a later version than this release can read; it was left as it is."""


class Damaged(Exception):
    """The file is of our version, and not as we make it."""


class _State(msgspec.Struct, frozen=True, array_like=True):
    bare: list[Span]
    voids: list[tuple[int, int, int, bool]]


@dataclass(frozen=True, slots=True)
class Place:
    """A block's line in `span`. What its checksum covers, but for the identity of series and block."""

    id: int
    known: bytes
    base_rows: int
    base_bytes: int
    base_digest: int
    young_rows: int
    young_digest: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A block as it will be written; `base` is `None` where the one that is there still holds."""

    place: Place
    base: bytes | None
    young: bytes


PLACE = "id, known, base_rows, base_bytes, base_digest, young_rows, young_digest"
_state = msgspec.json.Decoder(_State)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that any one thread at a time may use, and that begins no transaction by itself."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


class File:
    """The file at `path`; each market's series are kept, and found, under its `origins`.

    `wall_ms` tells when something was asked for. `faults` collects what was found broken, and was given up.
    """

    def __init__(
        self,
        path: Path,
        origins: Mapping[Market, str],
        max_bytes: int,
        wall_ms: Callable[[], int],
        connect: Connect = connect,
    ) -> None:
        self.path = path
        self.faults: list[str] = []
        self._origins = origins
        self.max_bytes = max_bytes
        self.held_bytes = 0  # as of the last commit; may be looked at from any thread
        self._wall_ms = wall_ms
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    # ---------------------------------------------------------------------------------- reading

    def outline(self, key: SeriesKey) -> Outline:
        """All that is known of a series but its rows; what fails its checksum is dropped."""
        found = self._find(key)
        if found is None:
            return Outline()
        number, state, checksum = found
        if not isinstance(state, bytes) or checksum != checksum_of(self._identity(key), state):
            self.faults.append(f"{key}: its outline fails the checksum")
            self._forget([number])
            return Outline()
        bare, voids = read_state(state)
        blocks: dict[int, tuple[Span, ...]] = {}
        for index, checksum, *place in self._db.execute(
            f"SELECT idx, sum, {PLACE} FROM span WHERE series = ?",  # noqa: S608 - our own column names, here and below
            (number,),
        ).fetchall():
            if self._sound(key, index, Place(*place), checksum):
                blocks[index] = spans_of(place[1])
            else:
                self._broken(key, index, place[0], "its place fails the checksum")
        return Outline(bare, voids, blocks)

    def blocks(self, key: SeriesKey, indexes: Iterable[int]) -> dict[int, Kept]:
        """Those of the blocks that are there and whole; the others are dropped."""
        found = self._find(key)
        kept: dict[int, Kept] = {}
        for index in indexes if found is not None else ():
            row = self._place(found[0], index) if found is not None else None
            if row is None:
                continue
            try:
                kept[index] = self._kept(key, index, *row)
            except Unreadable as error:
                self._broken(key, index, row[0].id, str(error))
        return kept

    def _kept(self, key: SeriesKey, index: int, place: Place, checksum: int) -> Kept:
        if not self._sound(key, index, place, checksum):
            raise Unreadable("its place fails the checksum")
        return Kept(self._read(index, place), spans_of(place.known))

    def _read(self, index: int, place: Place) -> Block:
        young = self._payload("young", place.id) if place.young_rows else b""
        return assembled(index, place, self._payload("base", place.id), young)

    # ---------------------------------------------------------------------------------- writing

    def prepare(self, key: SeriesKey, index: int, kept: Kept) -> Prepared | None:
        """What is to be written for a block; `None` if it is there just so. The longest part, and no transaction."""
        found = self._find(key)
        row = self._place(found[0], index) if found is not None else None
        block, known = kept.block, _packed(kept.known)
        old = row[0] if row is not None and self._sound(key, index, *row) else None
        if old is None or not _continues(block, old):
            whole = (len(block), len(block.text), digest(block.opens, block.text))
            return Prepared(Place(0 if row is None else row[0].id, known, *whole, 0, 0), encode(block), b"")
        added = _after(block, old.base_rows)
        young_digest = digest(added.opens, added.text) if len(added) else 0
        place = Place(old.id, known, old.base_rows, old.base_bytes, old.base_digest, len(added), young_digest)
        if place == old:
            return None
        return Prepared(place, None, encode(added, young=True) if len(added) else b"")

    def commit(self, key: SeriesKey, change: Change, prepared: Mapping[int, Prepared | None]) -> None:
        """Write one change of a series, whole."""
        state = msgspec.json.encode(_State(list(change.bare), [astuple(void) for void in change.voids]))
        with self._transaction() as db:
            row = db.execute(
                "INSERT INTO series (origin, market, kind, subject, contract_type, interval, zone_minutes, micros,"
                " state, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET state = excluded.state, sum = excluded.sum RETURNING id",
                (*self._columns(key), state, checksum_of(self._identity(key), state)),
            ).fetchone()
            for index, kept in change.blocks.items():
                if kept is None:
                    self._drop([place[0].id] if (place := self._place(row[0], index)) is not None else [])
                elif (block := prepared[index]) is not None:
                    self._put(key, row[0], index, block)
        self._shrink()

    def touch(self, key: SeriesKey, indexes: Iterable[int]) -> None:
        """These blocks were asked for."""
        found = self._find(key)
        if found is not None:
            asked = self._wall_ms()
            with self._transaction() as db:
                db.executemany(
                    "UPDATE span SET asked = ? WHERE series = ? AND idx = ?",
                    [(asked, found[0], index) for index in indexes],
                )

    def forget(self, key: SeriesKey) -> None:
        """Nothing of this series rests any more."""
        found = self._find(key)
        if found is not None:
            with self._transaction():
                self._forget([found[0]])

    def purge(self, which: Which) -> int:
        """Forget the series of our origins that match; returns how many there were."""
        conditions = {"market": which.market, "subject": which.subject, "interval": which.interval}
        given = {name: str(value) for name, value in conditions.items() if value is not None}
        where = "".join(f" AND {name} = ?" for name in given)
        origins = sorted(set(self._origins.values()))
        marks = ", ".join("?" * len(origins))
        with self._transaction() as db:
            query = f"SELECT id FROM series WHERE origin IN ({marks}){where}"  # noqa: S608
            numbers = [number for (number,) in db.execute(query, (*origins, *given.values()))]
            self._forget(numbers)
        return len(numbers)

    def sound(self) -> bool:
        """Whether places can still be found by what they are of: asked where something else was found broken."""
        reports = [self._db.execute(f"PRAGMA integrity_check({table})").fetchall() for table in ("series", "span")]
        return all(report == [("ok",)] for report in reports)

    def close(self) -> None:
        """Let go of the file; what was committed is in it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _used_bytes(self) -> int:
        """What the file holds, free pages aside."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def set_aside(self) -> None:
        """The file is broken beyond reading: begin a new one, and leave the old beside it for who wants to look."""
        self.close()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(self.path.with_name(self.path.name + ".broken"))

    # ------------------------------------------------------------------------------------ parts

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            opened = self._connect(self.path)
            try:
                _make_ready(opened, self.path)
            except BaseException:
                opened.close()
                raise
            self._connection = opened
            self.held_bytes = self._used_bytes()
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._db
        inside = db.in_transaction  # part of a larger one
        try:
            if not inside:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if not inside:
                db.execute("COMMIT")
        except BaseException:
            if not inside:
                _roll_back(db)
            raise

    def _find(self, key: SeriesKey) -> tuple[int, object, int] | None:
        found: tuple[int, object, int] | None = self._db.execute(
            "SELECT id, state, sum FROM series WHERE origin = ? AND market = ? AND kind = ? AND subject = ?"
            " AND contract_type = ? AND interval = ? AND zone_minutes = ? AND micros = ?",
            self._columns(key),
        ).fetchone()
        return found

    def _place(self, series: int, index: int) -> tuple[Place, int] | None:
        query = f"SELECT {PLACE}, sum FROM span WHERE series = ? AND idx = ?"  # noqa: S608
        row = self._db.execute(query, (series, index)).fetchone()
        return None if row is None else (Place(*row[:-1]), row[-1])

    def _payload(self, table: str, number: int) -> bytes:
        row = self._db.execute(f"SELECT payload FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
        if row is None or not isinstance(row[0], bytes):
            raise Unreadable("its rows are gone")
        return row[0]

    def _put(self, key: SeriesKey, series: int, index: int, block: Prepared) -> None:
        place = block.place
        columns = (*astuple(place)[1:], self._place_sum(key, index, place), self._wall_ms())
        (number,) = self._db.execute(
            "INSERT INTO span (series, idx, known, base_rows, base_bytes, base_digest, young_rows, young_digest, sum,"
            " asked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET known = excluded.known,"
            " base_rows = excluded.base_rows, base_bytes = excluded.base_bytes, base_digest = excluded.base_digest,"
            " young_rows = excluded.young_rows, young_digest = excluded.young_digest, sum = excluded.sum,"
            " asked = excluded.asked RETURNING id",
            (series, index, *columns),
        ).fetchone()
        if block.base is not None:
            self._db.execute("REPLACE INTO base (id, payload) VALUES (?, ?)", (number, block.base))
        if block.young:
            self._db.execute("REPLACE INTO young (id, payload) VALUES (?, ?)", (number, block.young))
        else:
            self._db.execute("DELETE FROM young WHERE id = ?", (number,))

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            for table in ("base", "young", "span"):
                self._db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))  # noqa: S608

    def _forget(self, series: Iterable[int]) -> None:
        with self._transaction() as db:
            for number in series:
                self._drop([row[0] for row in db.execute("SELECT id FROM span WHERE series = ?", (number,)).fetchall()])
                db.execute("DELETE FROM series WHERE id = ?", (number,))

    def _broken(self, key: SeriesKey, index: int, number: int, why: str) -> None:
        self.faults.append(f"{key}, block {index}: {why}")
        with suppress(sqlite3.OperationalError), self._transaction():  # else it will be found broken once more
            self._drop([number])

    def _shrink(self) -> None:
        """Give up the blocks that were asked for longest ago, with what they made known, until the bound holds."""
        self.held_bytes = self._used_bytes()
        if self.held_bytes <= self.max_bytes:
            return
        while (much := self.held_bytes - self.max_bytes * _LOW_WATER) > 0:
            with self._transaction() as db:
                gone = self._oldest(much)
                self._drop(gone)
                if not gone and not db.execute("DELETE FROM series RETURNING id").fetchall():
                    break
            self.held_bytes = self._used_bytes()
        self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def _oldest(self, nbytes: float) -> list[int]:
        """The blocks that were asked for longest ago and take about so much, or as many as go at once."""
        found: list[int] = []
        for number, size in self._db.execute(
            "SELECT id, (SELECT length(payload) FROM base WHERE base.id = span.id) FROM span ORDER BY asked, id"
            " LIMIT ?",
            (_DROPPED_AT_ONCE,),
        ).fetchall():
            found.append(number)
            nbytes -= size or 0
            if nbytes <= 0:
                break
        return found

    def _columns(self, key: SeriesKey) -> tuple[str | int, ...]:
        origin = self._origins[key.market]
        named = (key.market.value, key.kind, key.subject, key.contract_type, key.interval)
        return (origin, *named, key.zone_minutes, int(key.micros))

    def _identity(self, key: SeriesKey) -> bytes:
        return identity(self._columns(key))

    def _sound(self, key: SeriesKey, index: int, place: Place, checksum: int) -> bool:
        return sound(self._identity(key), index, place, checksum)

    def _place_sum(self, key: SeriesKey, index: int, place: Place) -> int:
        return _place_sum(self._identity(key), index, place)


def version_of(db: sqlite3.Connection, path: Path) -> int:
    """The file's version, 0 of an empty one; `Newer` where it is past this release's, `Damaged` if it is not ours."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    if version > len(MIGRATIONS):
        raise Newer(f"{path} is of version {version}, and this release knows {len(MIGRATIONS)}: left as it is")
    if (version or _schema(db)) and application != APPLICATION:
        raise Newer(f"{path} is a database of another program: left as it is")
    if not version and application == APPLICATION:
        raise Damaged(f"{path}: its version is gone")
    if version == VERSION and _schema(db) != _schema_of_ours():
        raise Damaged(f"{path}: its schema is not ours")
    return int(version)


def _make_ready(db: sqlite3.Connection, path: Path) -> None:
    """Set the connection up, and bring the file to this release's version; raises what `version_of` does."""
    version = version_of(db, path)
    if not version:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(
            f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}; COMMIT;"
        )


def _schema(db: sqlite3.Connection) -> list[object]:
    columns = ", ".join(
        f"CAST({column} AS BLOB)" for column in ("type", "name", "tbl_name", "sql")
    )  # damage is no UTF-8
    return db.execute(f"SELECT {columns} FROM sqlite_master ORDER BY name").fetchall()  # noqa: S608


@cache
def _schema_of_ours() -> list[object]:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        return _schema(db)


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # SQLite rolls back by itself where it can't go on
        db.execute("ROLLBACK")


def _continues(block: Block, place: Place) -> bool:
    """Whether the block begins with just the rows that rest as its base, and has few others."""
    rows, nbytes = place.base_rows, place.base_bytes
    if not rows <= len(block) <= rows + YOUNG_ROWS or block.ends[rows - 1] != nbytes:
        return False
    return digest(block.opens[:rows], block.text[:nbytes]) == place.base_digest


def _after(block: Block, rows: int) -> Block:
    """The block without its first rows."""
    start = block.ends[rows - 1] + 1
    ends = block.ends[rows:]
    for n in range(len(ends)):
        ends[n] -= start
    return Block(block.index, block.opens[rows:], ends, block.text[start:])


def _packed(spans: Iterable[Span]) -> bytes:
    return b"".join(struct.pack("<2q", *span) for span in spans)


def spans_of(known: bytes) -> tuple[Span, ...]:
    """A place's `known`, unpacked."""
    return tuple(struct.iter_unpack("<2q", known))


def identity(columns: tuple[str | int, ...]) -> bytes:
    """Of a series, out of its columns from `origin` to `micros`: part of each checksum, so that none fits another."""
    return msgspec.json.encode(columns)


def checksum_of(identity: bytes, rest: bytes) -> int:
    """64 bits, as a signed number."""
    whole = xxhash.xxh3_64(identity)
    whole.update(rest)
    return whole.intdigest() - (1 << 63)


def read_state(state: bytes) -> tuple[tuple[Span, ...], tuple[Void, ...]]:
    """A series' bare spans and its voids."""
    read = _state.decode(state)
    return tuple(read.bare), tuple(Void(*void) for void in read.voids)


def sound(identity: bytes, index: int, place: Place, checksum: int) -> bool:
    """Whether a line is as it was written; in a damaged file it may hold anything."""
    try:
        return checksum == _place_sum(identity, index, place)
    except (TypeError, struct.error):
        return False


def _place_sum(identity: bytes, index: int, place: Place) -> int:
    numbers = struct.pack("<6q", index, *astuple(place)[2:])
    return checksum_of(identity, numbers + place.known)


def assembled(index: int, place: Place, base_payload: bytes, young_payload: bytes) -> Block:
    """The block that rests in these payloads; `Unreadable` where they are not those that `place` tells of."""
    base = decode(index, base_payload)
    if (len(base), len(base.text), digest(base.opens, base.text)) != (
        place.base_rows,
        place.base_bytes,
        place.base_digest,
    ):
        raise Unreadable("its rows fail the checksum")
    if not place.young_rows:
        return base
    young = decode(index, young_payload)
    if (len(young), digest(young.opens, young.text)) != (place.young_rows, place.young_digest):
        raise Unreadable("its young rows fail the checksum")
    ends = base.ends[:]
    ends.extend([end + len(base.text) + 1 for end in young.ends])
    return Block(index, base.opens + young.opens, ends, base.text + b"," + young.text)
