"""`GET /v1/candles`: the candles of many series in one answer (docs/design.md#native)."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mdcache.clock import Clock, Instant
from mdcache.errors import MdcacheError, Refusal
from mdcache.exchange.klines import SeriesKey
from mdcache.exchange.markets import Market
from mdcache.serving.client_limits import ClientLimits
from mdcache.serving.native import arrow_tables
from mdcache.serving.native.answer_fields import Shown, describe_error, describe_series, left_out, summary
from mdcache.serving.native.arrow_tables import ArrowTable
from mdcache.serving.native.candles_query import MEDIA_TYPES, CandlesQuery, check_rows, chosen_form, parse_candles_query
from mdcache.serving.native.found_rows import FoundRows
from mdcache.serving.native.gzip_stream import Part
from mdcache.serving.native.messages import NativeReply, NativeRequest, Streamed
from mdcache.serving.native.positions import name_of
from mdcache.serving.native.row_reads import RowReads
from mdcache.serving.native.tables import CSV_HEADER, csv_rows
from mdcache.serving.native.tokens import BadToken, digest, read_token, write_token
from mdcache.serving.native.wait_group import AwaitedQuestion
from mdcache.serving.native.waits import Waits
from mdcache.serving.responses import HttpResponse, Receive
from mdcache.upstream.exchange_clock import ExchangeClocks

_CONTENT_TYPES = {form: media_type.encode() for form, media_type in MEDIA_TYPES.items()}
_CONTENT_TYPES["csv"] += b"; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its series, in the order of the answer, and its name in tokens."""

    query: CandlesQuery
    keys: list[SeriesKey]
    name: str
    format: str


class CandlesApp:
    """Answers `/v1/candles`.

    Args:
        reads: Finds rows.
        clock: Measures how long the event loop is held.
        clocks: The exchange's.
        upstreams: Base URLs by market.
        waits: Tells when something may have changed.
        limits: Of clients: each series counts as a request.
    """

    def __init__(
        self,
        reads: RowReads,
        clock: Clock,
        clocks: ExchangeClocks,
        upstreams: Mapping[Market, str],
        waits: Waits,
        limits: ClientLimits,
    ) -> None:
        self._reads = reads
        self._clock = clock
        self._turns = asyncio.Lock()
        self._clocks = clocks
        self._upstreams = upstreams
        self._waits = waits
        self._limits = limits

    async def answer(self, request: NativeRequest) -> NativeReply:
        """Answer a question; raise an error of `errors.py`."""
        client = request.client
        question = self._question(parse_candles_query(request.query), request)
        now = self._clocks.now(question.query.choice.market)
        check_rows(question.query, now.ms)
        if (more := len(question.keys) - 1) > 0:
            self._limits.charge(client.address, client.client, more)
        known = self._known(question, now)

        async def look() -> NativeReply:
            found = await self._reads.find_all(question.keys, question.query.span, client.directives, client.caller)
            table = await asyncio.to_thread(ArrowTable, question.keys) if question.format == "arrow" else None
            return self._reply(question, known, found, table, gzip=client.gzip)

        asked_s = self._clock.now()
        made = await look()
        if not (made.unchanged and question.query.wait_s):
            return made
        same = replace(question.query, since="", wait_s=0.0, format="")
        asker = client.directives, client.client, client.lane, client.gzip
        identity = same, question.format, b"".join(known or ()), asker
        return await self._wait(
            AwaitedQuestion(identity, question.keys, question.query.span.closed, look),
            made,
            request.receive,
            question.query.wait_s,
            asked_s,
        )

    async def _wait(
        self, question: AwaitedQuestion, made: NativeReply, receive: Receive, wait_s: float, asked_s: float
    ) -> NativeReply:
        """Return the answer when something has changed, or `made` when the time is over."""
        waits_s = self._clock.now()
        news = await self._waits.news(question, receive, wait_s, asked_s)
        if news is None:
            return replace(made, waited_s=self._clock.now() - waits_s)
        if isinstance(news.made, Exception):
            raise news.made.with_traceback(news.trace)
        looked_s = self._clock.now() if news.made.unchanged else news.looked_s
        return replace(news.made, waited_s=looked_s - waits_s)

    def _question(self, query: CandlesQuery, request: NativeRequest) -> Question:
        choice, span = query.choice, query.span
        keys = [
            choice.key(interval, symbol)
            for symbol in range(len(choice.symbols))
            for interval in range(len(choice.intervals))
        ]
        upstream = f"{self._upstreams[choice.market]} {span}"
        name = name_of(choice.market, choice.symbols, choice.intervals, upstream)
        form = chosen_form(query, request.path, request.accept, arrow=arrow_tables.is_installed())
        return Question(query, keys, name, form)

    def _known(self, question: Question, now: Instant) -> list[bytes] | None:
        """Return what the client has already, if it says so."""
        if not question.query.since:
            return None
        doubted = Instant(now.ms, now.error_ms + self._clocks.doubt_ms(question.query.choice.market))
        try:
            return read_token(question.query.since, question.name, len(question.keys), doubted)
        except BadToken as error:
            text = f"'since' can't be used: {error}. Ask without it, and send the token of the answer."
            raise Refusal(400, -1130, text) from error

    def _reply(
        self,
        question: Question,
        known: Sequence[bytes] | None,
        found: Sequence[FoundRows | MdcacheError],
        table: ArrowTable | None,
        *,
        gzip: bool,
    ) -> NativeReply:
        usable = [each for each in found if isinstance(each, FoundRows)]
        digests = [_digest(each) for each in found]
        if not usable or (question.format != "json" and len(usable) < len(found) and not question.query.partial):
            raise next(each for each in found if isinstance(each, MdcacheError))
        changed = [place for place in range(len(found)) if known is None or digests[place] != known[place]]
        fields, result, age_s = summary(usable, self._clocks.now(question.query.choice.market).ms)
        if not changed:
            return NativeReply(HttpResponse(204, fields, b""), result, age_s)
        shown = [(question.keys[place], found[place]) for place in changed]
        token = write_token(question.name, self._clocks.now(question.query.choice.market).ms, digests)
        if table is not None:
            pieces: Iterable[bytes | Part] = self._arrow(table, token, shown)
        elif question.format == "csv":
            pieces = self._csv(shown)
        else:
            pieces = self._json(token, shown)
            if all(isinstance(found, FoundRows) and found.kept for _, found in shown):
                pieces = list(pieces)
        lacking = () if question.format == "json" else left_out(shown)
        fields = ((b"content-type", _CONTENT_TYPES[question.format]), *lacking, *fields)
        return NativeReply(Streamed(fields, pieces, self._clock, self._turns, gzip), result, age_s)

    def _json(self, token: str, shown: Sequence[Shown]) -> Iterator[bytes | Part]:
        start = b'{"token":"%b","series":[' % token.encode()
        for key, found in shown:
            start += describe_series(key, found)
            if isinstance(found, FoundRows):
                start = start[:-1] + b',"rows":['
                kept = self._reads.kept(found)
                for piece in (kept,) if kept else self._reads.printed(found):
                    yield start
                    yield piece
                    start = b","
                start = b"]}" if start == b"," else start + b"]}"
            start += b","
        yield start[:-1] + b"]}"

    def _csv(self, shown: Sequence[Shown]) -> Iterator[bytes]:
        yield CSV_HEADER
        for key, found in shown:
            if isinstance(found, FoundRows):
                for piece in self._reads.printed(found):
                    yield csv_rows(piece, key)

    def _arrow(self, table: ArrowTable, token: str, shown: Sequence[Shown]) -> Iterator[bytes]:
        about = b",".join(describe_series(key, found) for key, found in shown)
        yield table.start(b'{"token":"%b","series":[%b]}' % (token.encode(), about))
        for key, found in shown:
            if isinstance(found, FoundRows):
                for piece in self._reads.printed(found):
                    yield from table.batches(piece, key)
        yield table.end()


def _digest(found: FoundRows | MdcacheError) -> bytes:
    if isinstance(found, MdcacheError):  # the same one is no news: who waits would ask again at once
        return digest(f"error {describe_error(found)['code']}".encode(), stale=False)
    return digest(found.tag, stale=found.stale) if found.kept is None else found.kept.digest
