// What a chart shows, as values: rows, holes, and what is stale. No network, no page.
const SECOND_MS = 1000, MINUTE_MS = 60 * SECOND_MS, HOUR_MS = 60 * MINUTE_MS, DAY_MS = 24 * HOUR_MS;
const LENGTHS_MS = {
  "1s": SECOND_MS, "1m": MINUTE_MS, "3m": 3 * MINUTE_MS, "5m": 5 * MINUTE_MS, "15m": 15 * MINUTE_MS, "30m": 30 * MINUTE_MS,
  "1h": HOUR_MS, "2h": 2 * HOUR_MS, "4h": 4 * HOUR_MS, "6h": 6 * HOUR_MS, "8h": 8 * HOUR_MS, "12h": 12 * HOUR_MS,
  "1d": DAY_MS, "3d": 3 * DAY_MS, "1w": 7 * DAY_MS,
};
export const INTERVALS = [...Object.keys(LENGTHS_MS), "1M"];
export const MARKETS = { spot: "BTCUSDT", usdm: "BTCUSDT", coinm: "BTCUSD_PERP" }; // and what is shown first of each
// Kinds of candles, and how the page calls them; those of `PAIR_KINDS` are asked for by pair.
export const KINDS = {
  klines: "", uiKlines: "for charts", continuousKlines: "continuous", markPriceKlines: "mark price", indexPriceKlines: "index price",
  premiumIndexKlines: "premium index",
};
export const PAIR_KINDS = ["continuousKlines", "indexPriceKlines"];
export const OPEN_TIME = 0, OPEN = 1, HIGH = 2, LOW = 3, CLOSE = 4, VOLUME = 5, CLOSE_TIME = 6, CLOSED = 11;

/** When the bucket after the one that begins at `openMs` begins; `zone`: minutes that its months are ahead of UTC's. */
export function nextOpen(openMs, { interval, zone }) {
  if (interval !== "1M") return openMs + LENGTHS_MS[interval];
  const opened = new Date(openMs + zone * MINUTE_MS);
  return Date.UTC(opened.getUTCFullYear(), opened.getUTCMonth() + 1, 1) - zone * MINUTE_MS;
}

/** A zone as Binance writes it, such as `-5:30`. */
export function zoneName(zone) {
  return `${zone < 0 ? "-" : ""}${Math.floor(Math.abs(zone) / 60)}:${String(Math.abs(zone) % 60).padStart(2, "0")}`;
}

/** The opens of the buckets from one that begins at `fromMs`, as far as they end by `untilMs`. */
function buckets(fromMs, untilMs, series) {
  const opens = [];
  for (let at = fromMs, next; (next = nextOpen(at, series)) <= untilMs; at = next) opens.push(at);
  return opens;
}

/** The holes between rows: each as the opens of its buckets. */
export function holesOf(rows, series) {
  const found = [];
  for (let place = 1; place < rows.length; place += 1) {
    const expected = nextOpen(rows[place - 1][OPEN_TIME], series);
    if (rows[place][OPEN_TIME] > expected) {
      const opens = buckets(expected, rows[place][OPEN_TIME], series);
      if (opens.length) found.push(opens);
    }
  }
  return found;
}

/** The opens of the buckets that may be other than shown, if the rows are as of `asOfMs`: those that were not over then. */
export function staleOf(rows, series, asOfMs, nowMs) {
  const known = rows.filter((row) => row[CLOSE_TIME] >= asOfMs).map((row) => row[OPEN_TIME]);
  const last = rows.at(-1);
  return last ? [...known, ...buckets(nextOpen(last[OPEN_TIME], series), nextOpen(nowMs, series), series)] : [];
}

/** Rows with others put in: of a candle that both have, the newer one, unless that would reopen a closed one. */
export function mergeRows(rows, others, othersNewer) {
  const last = rows.at(-1);
  if (othersNewer && others.length === 1 && last && others[0][OPEN_TIME] === last[OPEN_TIME]) {
    return [...rows.slice(0, -1), others[0][CLOSED] || !last[CLOSED] ? others[0] : last];
  }
  const byOpen = new Map(rows.map((row) => [row[OPEN_TIME], row]));
  for (const row of others) {
    const known = byOpen.get(row[OPEN_TIME]);
    if (!known || (row[CLOSED] && !known[CLOSED]) || (othersNewer && row[CLOSED] === known[CLOSED])) byOpen.set(row[OPEN_TIME], row);
  }
  return [...byOpen.values()].sort((one, other) => one[OPEN_TIME] - other[OPEN_TIME]);
}

/** How many decimals these rows' prices have. */
export function decimalsOf(rows) {
  const lengths = rows.slice(-100).flatMap((row) => row.slice(OPEN, CLOSE + 1))
    .map((price) => price.includes(".") ? price.replace(/0+$/, "").split(".")[1].length : 0);
  return Math.max(0, ...lengths);
}
