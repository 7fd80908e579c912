// The candles of one series, kept new by /v1/stream, or by asking again while that is refused.
import { CLOSE_TIME, CLOSED, mergeRows, nextOpen, OPEN_TIME, PAIR_KINDS, zoneName } from "./candles.js";

const PAGE_ROWS = 500, MOST_ROWS = 20000;
const PREFIXES = { spot: "api/v3/", usdm: "fapi/v1/", coinm: "dapi/v1/" };
const POLL_MS = 2000, EVENTS_RETRY_MS = 30000, PATIENCE_MS = 20000;

/** An answer that is none. `status`: 0 if nothing came. */
export class Failure extends Error {
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export async function ask(path, parameters) {
  let reply;
  try {
    reply = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    throw new Failure(error.message, 0);
  }
  const body = reply.status === 204 ? null : await reply.json().catch(() => undefined);
  if (!reply.ok || body === undefined) throw new Failure(body?.msg ?? `status ${reply.status}`, reply.status, body?.code);
  return { body, headers: reply.headers };
}

export class Feed {
  rows = [];
  asOfMs = null; // of the newest rows, by the exchange's clock
  stale = false; // the daemon says so
  failure = null; // of the last question
  lostAt = null; // since when the daemon does not answer
  kept = null; // what the daemon says of the series: source, resting …
  family = null; // the gate of the market's family
  upstreams = null; // whence it reads
  way = "none"; // how it is kept new: "events", "asking" or "none"
  older = "more"; // "more", "asked", "none" or "enough"

  #series; #changed; #events = null; #token = ""; #offsetMs = 0; #ended = false; #paused = false; #retryAt = 0;

  constructor(series, changed) {
    this.#series = series;
    this.#changed = changed;
  }

  /** Begins; ends with `stop`. */
  async start() {
    await this.#newest();
    while (!this.#ended) {
      if (!this.#paused) await Promise.all([this.#state(), this.#poll()]);
      await new Promise((done) => { setTimeout(done, POLL_MS); });
    }
  }

  stop() {
    this.#ended = true;
    this.#hangUp();
  }

  /** Asks nothing while nobody looks. */
  pause(paused) {
    this.#paused = paused;
    if (paused) this.#hangUp();
  }

  #hangUp() {
    this.#events?.close();
    this.#events = null;
    this.#retryAt = 0;
    this.way = "none";
  }

  nowMs() {
    return Date.now() + this.#offsetMs;
  }

  /** Whether what is shown may be other than what is so now. */
  get doubtful() {
    return this.stale || this.lostAt !== null || (this.failure !== null && this.rows.length > 0);
  }

  /** Asks for what is before the first row. */
  async askOlder() {
    if (this.older !== "more" || !this.rows.length) return;
    this.older = "asked";
    try {
      const { rows } = await this.#ask(this.rows[0][OPEN_TIME] - 1);
      if (this.#ended) return;
      this.rows = mergeRows(this.rows, rows, false);
      this.older = rows.length < PAGE_ROWS ? "none" : this.rows.length >= MOST_ROWS ? "enough" : "more";
      this.#changed(true);
    } catch {
      setTimeout(() => { this.older = "more"; }, POLL_MS); // the next scroll asks again
    }
  }

  #question() {
    const { market, symbol, interval } = this.#series;
    return { market, symbols: symbol, intervals: interval };
  }

  /** Whether /v1 has such candles: it has those of trades, in UTC. */
  get #native() {
    return this.#series.kind === "klines" && !this.#series.zone;
  }

  /** A page of rows, the newest or those until `endMs`, and what is said of them; `rows` is null if nothing is new. */
  async #ask(endMs) {
    if (this.#native) {
      const more = endMs !== undefined ? { end: endMs } : this.#token ? { since: this.#token } : {};
      const { body, headers } = await ask("v1/candles", { ...this.#question(), limit: PAGE_ROWS, ...more });
      if (body && endMs === undefined) this.#token = body.token;
      return { rows: null, ...body?.series[0], headers };
    }
    const { market, symbol, interval, kind, contract, zone } = this.#series;
    const { body, headers } = await ask(`${PREFIXES[market]}${kind}`, {
      [PAIR_KINDS.includes(kind) ? "pair" : "symbol"]: symbol, interval, limit: PAGE_ROWS,
      ...(contract && { contractType: contract }), ...(zone && { timeZone: zoneName(zone) }), ...(endMs !== undefined && { endTime: endMs }),
    });
    const asOfMs = Number(headers.get("x-mdcache-as-of"));
    const rows = body.map((row) => [...row.slice(0, CLOSED), row[CLOSE_TIME] < asOfMs]);
    return { rows, stale: headers.get("cache-status").includes("detail=stale"), headers };
  }

  /** Asks for the newest rows. Rows that are not joined to those that are known take their place. */
  async #newest() {
    try {
      const { rows, stale, headers } = await this.#ask();
      if (this.#ended) return;
      const asOfMs = Number(headers.get("x-mdcache-as-of")), nowMs = Number(headers.get("x-mdcache-now"));
      if (nowMs) this.#offsetMs = nowMs - Date.now();
      if (rows) {
        const last = this.rows.at(-1);
        const joined = !last || !rows.length || rows[0][OPEN_TIME] <= nextOpen(last[OPEN_TIME], this.#series);
        if (!joined) this.older = "more";
        this.rows = joined ? mergeRows(this.rows, rows, asOfMs >= (this.asOfMs ?? 0)) : rows;
        this.stale = stale;
      }
      this.asOfMs = Math.max(this.asOfMs ?? 0, asOfMs);
      this.failure = null;
      this.lostAt = null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (this.#ended) return;
      if (error.status === 400 && this.#token) this.#token = ""; // it is another daemon's: the next question goes without it
      else if (error.status) this.failure = error;
      if (error.status) this.lostAt = null;
      else this.lostAt ??= new Date();
    }
    this.#changed(true);
  }

  #listen() {
    const events = new EventSource(`v1/stream?${new URLSearchParams(this.#question())}`);
    this.#events = events;
    events.onopen = () => {
      this.way = "events";
      this.#newest(); // what was missed before
    };
    for (const name of ["candle", "closed", "revised"]) {
      events.addEventListener(name, (event) => {
        const { row, as_of: asOfMs } = JSON.parse(event.data);
        this.rows = mergeRows(this.rows, [row], true).slice(-MOST_ROWS);
        this.asOfMs = Math.max(this.asOfMs, asOfMs);
        this.#changed(name === "revised");
      });
    }
    for (const name of ["stale", "fresh"]) {
      events.addEventListener(name, () => {
        this.stale = name === "stale";
        this.#changed(true);
      });
    }
    events.onerror = () => {
      this.way = "none";
      if (events.readyState !== EventSource.CLOSED) return; // it connects again by itself
      this.#events = null;
      this.#retryAt = performance.now() + EVENTS_RETRY_MS;
      this.#poll();
    };
  }

  /** Asks again, where events do not come. A question that is wrong stays so. */
  async #poll() {
    if (this.failure?.status >= 400 && this.failure.status < 500) return;
    if (this.#native && !this.#events && this.asOfMs !== null && performance.now() >= this.#retryAt) {
      this.#listen();
    } else if (this.way !== "events" || this.failure) {
      this.way = "asking";
      await this.#newest();
    }
  }

  /** Asks what feeds the series, and whether its family may be asked. */
  async #state() {
    const { market, symbol, interval, kind, contract, zone } = this.#series;
    try {
      const [{ body: kept }, { body: status }] = await Promise.all([ask("v1/series", { market, symbol, interval }), ask("v1/status", {})]);
      if (this.#ended) return;
      this.kept = kept.series.find((each) => each.kind === kind && each.contract_type === contract && each.zone_minutes === zone && !each.micros)
        ?? null;
      this.family = status.families.find((each) => each.family === (market === "spot" ? "spot" : "futures"));
      this.upstreams = status.upstreams;
      this.#offsetMs = status.clocks[market].now_ms - Date.now();
      if (this.kept?.age_s != null && this.rows.length) this.asOfMs = Math.max(this.asOfMs, this.nowMs() - this.kept.age_s * 1000);
      this.lostAt = null;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      if (this.#ended) return;
      if (!error.status) this.lostAt ??= new Date();
      this.kept = this.family = null;
    }
    this.#changed(false);
  }
}
