// The chart page: which series, what is said of it, and its candles. Whatever comes is set as text, never as markup.
import {
  CLOSE, CLOSED, HIGH, holesOf, INTERVALS, KINDS, LOW, MARKETS, OPEN, OPEN_TIME, staleOf, VOLUME, zoneName,
} from "./candles.js";
import { available, Drawing } from "./drawing.js";
import { ask, Failure, Feed } from "./feed.js";
import { $, duration, element, fill, setText } from "../page/elements.js";

const TABLE_ROWS = 30, TOLD_SPANS = 20;
let series = null, feed = null, drawing = null, pointed = null, drawnRows = 0, due = false, whole = false;

const stamp = (ms) => new Date(ms).toISOString().replace("T", " ").replace(/(\.000)?Z$/, "");
const trimmed = (number) => (number.includes(".") ? number.replace(/\.?0+$/, "") : number);
const candles = (count) => (count === 1 ? "1 candle" : `${count} candles`);

// ------------------------------------------------------------------------------------------------ the series

/** The series that the address names, or what is wrong with it. */
function fromAddress() {
  const sent = new URLSearchParams(location.search);
  const market = (sent.get("market") || "spot").toLowerCase(), interval = sent.get("interval") || "1m";
  const symbol = (sent.get("symbol") || MARKETS[market] || "").trim().toUpperCase();
  if (!Object.hasOwn(MARKETS, market)) return { wrong: `There is no market “${market}”: choose ${Object.keys(MARKETS).join(", ")}.` };
  if (!INTERVALS.includes(interval)) return { wrong: `There is no interval “${interval}”: choose ${INTERVALS.join(", ")}.`, market, symbol };
  const kind = sent.get("kind") || "klines", zone = Number(sent.get("zone") || 0), contract = sent.get("contract") || "";
  const kinds = Object.keys(KINDS).filter((each) => each === "klines" || (each === "uiKlines") === (market === "spot"));
  if (!kinds.includes(kind)) return { wrong: `There is no kind “${kind}” on ${market}: choose ${kinds.join(", ")}.`, market, symbol };
  if (!Number.isInteger(zone)) return { wrong: "The zone is in minutes ahead of UTC.", market, symbol };
  return { market, symbol, interval, kind, contract, zone };
}

/** What tells the series from the plain candles of its symbol. */
function variety({ kind, contract, zone }) {
  return [KINDS[kind], contract, zone && `days of UTC${zone < 0 ? "" : "+"}${zoneName(zone)}`].filter(Boolean);
}

function begin() {
  feed?.stop();
  series = fromAddress();
  $("market").value = series.market ?? "spot";
  $("symbol").value = series.symbol ?? "";
  $("interval").value = series.interval ?? "1m";
  pointed = null;
  drawnRows = 0;
  feed = null;
  drawing?.clear();
  if (series.wrong) {
    setText($("name"), "Candles");
    refuse(series.wrong);
    return;
  }
  setText($("name"), [series.symbol, series.market, series.interval, ...variety(series)].join(", "));
  feed = new Feed(series, changed);
  feed.pause(document.hidden);
  feed.start();
}

function choose() {
  const symbol = $("symbol").value.trim().toUpperCase();
  const chosen = new URLSearchParams({ market: $("market").value, symbol, interval: $("interval").value });
  const shown = new URLSearchParams($("market").value === series.market ? location.search : ""); // others may have no such candles
  for (const name of ["kind", "contract", "zone"]) if (shown.has(name)) chosen.set(name, shown.get(name));
  if (!symbol || `?${chosen}` === location.search) return;
  history.pushState(null, "", `?${chosen}`);
  begin();
}

/** Offers the symbols of the market that have what is typed. */
async function offer() {
  const query = $("symbol").value.trim();
  try {
    const { body } = await ask("udf/search", { query, exchange: $("market").value, limit: 30 });
    if (query !== $("symbol").value.trim()) return; // more was typed since
    $("symbols").replaceChildren(...body.map(({ symbol }) => {
      const option = element("option");
      option.value = symbol;
      return option;
    }));
  } catch (error) {
    if (!(error instanceof Failure)) throw error; // without offers, names can be typed
  }
}

// ------------------------------------------------------------------------------------------------ what is shown

/** Something of the feed has changed; `all`: more than the newest candle. */
function changed(all) {
  whole ||= all;
  if (due) return;
  due = true;
  requestAnimationFrame(render);
}

function render() {
  due = false;
  if (!feed) return;
  const { rows } = feed, { interval } = series;
  const holes = holesOf(rows, series), stale = feed.doubtful ? staleOf(rows, series, feed.asOfMs, feed.nowMs()) : [];
  if (drawing && rows.length) {
    if (whole || stale.length || rows.length !== drawnRows) drawing.show({ rows, holes, stale, interval });
    else drawing.update(rows.at(-1));
    drawnRows = rows.length;
  }
  whole = false;
  showState();
  showSpans(holes, stale);
  showPointed();
  showTable();
  showUpstream();
}

function refuse(text) {
  setText($("message"), text);
  $("message").hidden = !text;
  if (!feed) health("nothing is shown", "bad");
}

function health(text, className) {
  setText($("health"), text); // a live region: it speaks when this changes
  $("health").className = className;
}

/** Why there are no candles, or no newer ones. */
function trouble() {
  const { failure, lostAt } = feed;
  if (lostAt) return `The daemon does not answer since ${stamp(lostAt.getTime()).slice(11, 19)} UTC. It is asked again every few seconds.`;
  if (!failure) return available() ? "" : NOT_INSTALLED;
  if (failure.code === -1121) return `There is no symbol “${series.symbol}” on ${series.market}.`;
  return failure.status >= 500 ? `${failure.message} It is asked again every few seconds.` : failure.message;
}

const NOT_INSTALLED = "Candles can't be drawn: TradingView's lightweight-charts is not installed beside mdcache "
  + "(Python package “litecharts”). The table below shows them.";

function showState() {
  const { lostAt, failure, way, rows, older, asOfMs, kept, family } = feed;
  refuse(trouble());
  if (lostAt) health("no answer from the daemon", "bad");
  else if (failure) health(rows.length ? "no new answers" : "no candles", "bad");
  else if (feed.stale) health("stale: Binance can't be asked now", "warning");
  else health({ events: "live, by events", asking: "live, asked every 2 s" }[way] ?? "connecting …", way === "none" ? "warning" : "good");
  const title = [series.symbol, series.interval, series.market, ...variety(series)].join(" ");
  document.title = `${feed.doubtful ? "STALE: " : ""}${title} – mdcache`;
  const ageS = asOfMs === null ? null : Math.max(0, feed.nowMs() - asOfMs) / 1000;
  const left = Math.ceil(family?.reopens_in_s ?? 0);
  const gate = !family ? "not told" : family.gate_state === "open" ? "open: Binance may be asked"
    : `${family.gate_state}: ${family.gate_reason}${left ? `, a probe may go in ${duration(left)}` : ""}`;
  const figures = [
    ["As of, UTC", asOfMs === null ? "–" : stamp(asOfMs).slice(0, 19)],
    ["Age", ageS === null ? "–" : duration(ageS), feed.doubtful],
    ["Source of the tail", !kept ? "not told" : kept.source ?? "none"],
    ["Older candles", !kept ? "not told" : kept.resting ? "memory and store" : "memory"],
    [`Gate of ${family?.family ?? "the family"}`, gate, family && family.gate_state !== "open"],
    ["Shown", `${candles(rows.length)}${{ none: ", all there are", enough: ", the most that a page shows" }[older] ?? ""}`],
  ];
  $("figures").replaceChildren(...figures.map(([name, value, worrying]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value, worrying ? "warning" : ""));
    return pair;
  }));
}

function showSpans(holes, stale) {
  const words = holes.slice(-TOLD_SPANS).reverse().map((opens) =>
    `Hole: Binance has no candle from ${stamp(opens[0])} to ${stamp(opens.at(-1))} (${candles(opens.length)}).`);
  if (stale.length) words.unshift(`Stale: from ${stamp(stale[0])} on (${candles(stale.length)}); what is shown is as of ${stamp(feed.asOfMs).slice(0, 19)}.`);
  setText($("told"), `${candles(feed.rows.length)} are shown, with ${holes.length === 1 ? "1 hole" : `${holes.length} holes`}.`);
  const key = words.join();
  if ($("spans").dataset.key === key) return;
  $("spans").dataset.key = key;
  $("spans").hidden = !words.length;
  $("spans").replaceChildren(...words.map((text, place) => element("li", text, place === 0 && stale.length ? "warning" : "")));
}

function showPointed() {
  const row = (pointed !== null && feed.rows.find((each) => each[OPEN_TIME] === pointed)) || (pointed === null && feed.rows.at(-1));
  if (!row) {
    setText($("pointed"), pointed === null ? "" : `${stamp(pointed)}: no candle`);
    return;
  }
  const sign = Number(row[CLOSE]) >= Number(row[OPEN]) ? "▲" : "▼";
  setText($("pointed"), `${stamp(row[OPEN_TIME])} ${sign} open ${trimmed(row[OPEN])}, high ${trimmed(row[HIGH])}, low ${trimmed(row[LOW])}, `
    + `close ${trimmed(row[CLOSE])}, volume ${trimmed(row[VOLUME])}${row[CLOSED] ? "" : ", still open"}`);
}

function showTable() {
  if (!$("rows").open) return;
  fill($("table"), feed.rows.slice(-TABLE_ROWS).reverse().map((row) => [
    stamp(row[OPEN_TIME]), row[OPEN], row[HIGH], row[LOW], row[CLOSE], row[VOLUME], row[CLOSED] ? "closed" : "open"]));
}

/** Says if this is not Binance's data: a simulated exchange's must not look like it. */
function showUpstream() {
  const { urls, not_binance: others } = feed.upstreams ?? { urls: {}, not_binance: [] }, { market } = series;
  const unreal = others.includes(market);
  $("unreal").hidden = !unreal;
  if (unreal) setText($("unreal"), `Not Binance: ${market} from ${urls[market]}`);
  document.body.classList.toggle("unreal", unreal);
}

// ---------------------------------------------------------------------------------------------------- the page

const KEYS = {
  ArrowLeft: () => drawing.move(-0.1), ArrowRight: () => drawing.move(0.1), PageUp: () => drawing.move(-0.9), PageDown: () => drawing.move(0.9),
  "+": () => drawing.move(0, 0.8), "=": () => drawing.move(0, 0.8), "-": () => drawing.move(0, 1.25),
  Home: () => drawing.toFirst(), End: () => drawing.toNewest(),
};

for (const [list, names] of [["market", Object.keys(MARKETS)], ["interval", INTERVALS]]) {
  $(list).append(...names.map((name) => element("option", name)));
}
if (available()) {
  drawing = new Drawing($("chart"), {
    onScroll: () => feed?.askOlder(),
    onPoint: (openMs) => { pointed = openMs; if (feed) showPointed(); },
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawing.theme());
}
$("chart").addEventListener("keydown", (event) => {
  if (!drawing || !Object.hasOwn(KEYS, event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  KEYS[event.key]();
});
$("choice").addEventListener("submit", (event) => { event.preventDefault(); choose(); });
$("choice").addEventListener("change", choose);
$("symbol").addEventListener("focus", offer);
$("symbol").addEventListener("input", offer);
$("rows").addEventListener("toggle", () => { if (feed) showTable(); });
document.addEventListener("visibilitychange", () => feed?.pause(document.hidden));
addEventListener("popstate", begin);
setInterval(() => { if (feed && !document.hidden) changed(feed.doubtful); }, 1000);
begin();
