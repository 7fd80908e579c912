// Draws candles with TradingView's lightweight-charts, which is loaded before this as `LightweightCharts`.
import { CLOSE, CLOSED, decimalsOf, HIGH, LOW, OPEN, OPEN_TIME, VOLUME } from "./candles.js";

const SHOWN_EMPTY = 200; // buckets of one span without candles; a longer one is drawn shorter, and told in words
const FIRST_SHOWN = 120, MARGIN = 4; // buckets; the margin is free, at the right

export const available = () => "LightweightCharts" in globalThis;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export class Drawing {
  #chart; #candles; #volumes; #spans; #drawn = null; #ahead = 0;

  /** Draws into `box`. `onScroll` is called when the first candles come into sight, `onPoint` with an open time or null. */
  constructor(box, { onScroll, onPoint }) {
    const { CandlestickSeries, HistogramSeries, createChart } = globalThis.LightweightCharts;
    this.#chart = createChart(box, { autoSize: true, layout: { attributionLogo: false } }); // it would need an inline style
    const beside = { lastValueVisible: false, priceLineVisible: false };
    this.#spans = this.#chart.addSeries(HistogramSeries, { ...beside, priceScaleId: "spans" });
    this.#volumes = this.#chart.addSeries(HistogramSeries, { ...beside, priceScaleId: "volumes", priceFormat: { type: "volume" } });
    this.#candles = this.#chart.addSeries(CandlestickSeries);
    this.#chart.priceScale("spans").applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.#chart.priceScale("volumes").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => { if (range && range.from < 50) onScroll(); });
    this.#chart.subscribeCrosshairMove(({ time }) => onPoint(time === undefined ? null : time * 1000));
    this.theme();
  }

  /** Takes the page's colours anew. */
  theme() {
    const [text, line, up, down] = ["text", "line", "up", "down"].map(color);
    this.#chart.applyOptions({
      layout: { background: { color: color("card") }, textColor: text, fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      timeScale: { borderColor: line }, rightPriceScale: { borderColor: line },
    });
    this.#candles.applyOptions({ upColor: up, downColor: down, borderUpColor: up, borderDownColor: down, wickUpColor: up, wickDownColor: down, priceLineColor: color("edge") });
    this.#volumes.applyOptions({ color: color("edge") });
    if (this.#drawn) this.show(this.#drawn);
  }

  /** Forgets what is drawn: what comes next is of another series. */
  clear() {
    this.#drawn = null;
    for (const series of [this.#candles, this.#volumes, this.#spans]) series.setData([]);
  }

  /** Draws rows, holes (each a list of opens), and the opens of what is stale. */
  show(drawn) {
    const scale = this.#chart.timeScale(), first = this.#drawn === null, atEnd = scale.scrollPosition() >= 0;
    this.#drawn = drawn;
    const { rows, holes, stale, interval } = drawn, past = new Set(stale);
    const decimals = decimalsOf(rows);
    this.#candles.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
    this.#chart.applyOptions({ timeScale: { timeVisible: !/[dwM]$/.test(interval), secondsVisible: interval === "1s" } });
    const marked = [];
    for (const opens of holes) marked.push(...opens.slice(0, SHOWN_EMPTY).map((open) => [open, "hole"]));
    const last = rows.at(-1)?.[OPEN_TIME] ?? 0;
    const ahead = stale.filter((open) => open > last).slice(0, SHOWN_EMPTY);
    for (const open of [...stale.filter((each) => each <= last), ...ahead]) marked.push([open, "old"]);
    marked.sort(([one], [other]) => one - other);
    const empty = marked.filter(([open, what]) => what === "hole" || open > last).map(([open]) => ({ time: open / 1000 }));
    this.#candles.setData([...rows.map((row) => this.#candle(row, past)), ...empty].sort((one, other) => one.time - other.time));
    const traded = rows.filter((row) => Number(row[VOLUME])); // candles of prices have no volume
    this.#volumes.setData(traded.map((row) => ({ time: row[OPEN_TIME] / 1000, value: Number(row[VOLUME]) })));
    this.#spans.setData(marked.map(([open, what]) => ({ time: open / 1000, value: 1, color: color(what) })));
    const grown = ahead.length !== this.#ahead, count = rows.length + empty.length;
    this.#ahead = ahead.length;
    if (first) scale.setVisibleLogicalRange({ from: count - FIRST_SHOWN, to: count + MARGIN });
    else if (atEnd && grown) this.toNewest();
  }

  /** Draws the newest candle, of which only this has changed. */
  update(row) {
    this.#candles.update(this.#candle(row, new Set()));
    if (Number(row[VOLUME])) this.#volumes.update({ time: row[OPEN_TIME] / 1000, value: Number(row[VOLUME]) });
  }

  /** One that is not closed is hollow; a stale one has their colour. */
  #candle(row, past) {
    const [open, high, low, close] = [row[OPEN], row[HIGH], row[LOW], row[CLOSE]].map(Number);
    const look = {};
    if (past.has(row[OPEN_TIME])) look.borderColor = look.wickColor = color("past");
    if (!row[CLOSED]) look.color = color("card");
    return { time: row[OPEN_TIME] / 1000, open, high, low, close, ...look };
  }

  /** Moves what is in sight by parts of its width, and makes it wider or narrower. */
  move(parts, zoom = 1) {
    const scale = this.#chart.timeScale(), range = scale.getVisibleLogicalRange();
    if (!range) return;
    const width = range.to - range.from, wanted = Math.max(10, width * zoom), to = range.to + width * parts;
    scale.setVisibleLogicalRange({ from: to - wanted, to });
  }

  toFirst() {
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    if (range) this.#chart.timeScale().setVisibleLogicalRange({ from: 0, to: range.to - range.from });
  }

  toNewest() {
    this.#chart.timeScale().scrollToPosition(MARGIN, false);
  }
}
