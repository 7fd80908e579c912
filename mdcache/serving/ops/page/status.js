// The status page. It polls /v1/status and shows it; whatever comes is set as text, never as markup.
import { $, bytes, count, duration, element, fill, link, moment, percent, row, setText, share, sum, worry } from "./elements.js";
import {
  countDown, perSecond, showAlarm, showAnswers, showClosures, showProfile, showSpenders, showUpstreams, took,
} from "./answers.js";

const POLL_MS = 2000, SERIES_MS = 10000, SPARE_ROWS = 12;
const rate = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });

// ------------------------------------------------------------------------------------------------ families

const cards = new Map();
let unheard = false; // the daemon does not answer: what is shown is what it said last

function card(name) {
  if (!cards.has(name)) {
    const made = $("family").content.cloneNode(true).firstElementChild;
    const find = (selector) => made.querySelector(selector);
    find("h3").textContent = name;
    find(".bar").setAttribute("aria-label", `Weight used this minute, ${name}`);
    cards.set(name, { made, find, opensAt: 0, state: "", reason: "" });
    $("families").append(made);
  }
  return cards.get(name);
}

function showFamily(family, weights) {
  const shown = card(family.family), { find } = shown;
  const { used, allowed, limit, address } = family;
  shown.opensAt = performance.now() + family.reopens_in_s * 1000;
  [shown.state, shown.reason] = [family.gate_state, family.gate_reason];
  showGate(shown);
  find(".used").classList.toggle("warning", family.short);
  setText(find(".shortage"), family.short ? "A limit is spent: answers are older, or fail" : "");
  const known = family.limit_known ? "" : ", assumed until Binance tells";
  setText(find(".used"), `${count.format(used)} of ${count.format(allowed)} allowed this minute; `
    + `address ${count.format(address)} of ${count.format(limit)}${known}`);
  const bar = find(".bar");
  bar.setAttribute("aria-valuemax", String(limit));
  bar.setAttribute("aria-valuenow", String(used));
  bar.setAttribute("aria-valuetext", `${used} of ${allowed} allowed, limit ${limit}`);
  find(".fill").style.width = `${Math.min(100, 100 * used / limit)}%`;
  find(".mark").style.left = `calc(${Math.min(100, 100 * allowed / limit)}% - 3px)`;
  setText(find(".queue"), `${sum(family.in_flight)} reads in flight, ${sum(family.queued)} queued`);
  if (weights) draw(find, weights, allowed, family.family);
}

function showGate({ find, state, reason, opensAt }) {
  const left = Math.max(0, (opensAt - performance.now()) / 1000);
  const gate = find(".gate");
  const words = {
    open: "open", ramp: `coming back after ${reason}`, probing: `one probe is out, after ${reason}`,
    closed: `closed by ${reason}, a probe may go ` + (left > 0 ? `in ${duration(Math.ceil(left))}` : "now"),
  };
  setText(gate, `Gate ${unheard ? "when last heard of: " : ""}${words[state] ?? state}`);
  gate.className = `gate ${unheard ? "warning" : { open: "good", closed: "bad" }[state] ?? "warning"}`;
}

/** The running total of each UTC minute, as Binance counts it, over the seconds that are kept. */
function draw(find, { newest_s, by_second }, allowed, name) {
  const first = newest_s - by_second.length + 1, totals = [], ends = [], peaks = [];
  let total = 0;
  by_second.forEach((weight, place) => {
    if ((first + place) % 60 === 0) { ends.push(place); peaks.push(total); total = 0; }
    totals.push(total += weight);
  });
  const top = 1.1 * Math.max(allowed, ...totals, 1);
  const x = (place) => (300 * place / by_second.length).toFixed(2), y = (value) => (80 - 80 * value / top).toFixed(2);
  let line = `M0 ${y(totals[0] ?? 0)}`;
  totals.forEach((value, place) => { line += `H${x(place)}V${y(value)}`; });
  line += "H300";
  find(".line").setAttribute("d", line);
  find(".area").setAttribute("d", `${line}V80H0Z`);
  find(".limit").setAttribute("d", `M0 ${y(allowed)}H300`);
  find(".minutes").setAttribute("d", ends.map((place) => `M${x(place)} 0V80`).join(""));
  setText(find(".top"), `dashed: ${count.format(allowed)} allowed a minute`);
  find(".chart").setAttribute("aria-label", `Weight of ${name} in the last whole minutes: ${peaks.slice(1).join(", ") || "none"}; `
    + `in this one ${total}`);
}

// ------------------------------------------------------------------------------------------------ the rest

/** How many of the tails in use streams feed, of one market or of all. */
function fed(tails) {
  const all = tails.reduce((found, each) => found + sum(each), 0);
  const streamed = tails.reduce((found, each) => found + each.stream, 0);
  return all ? percent.format(streamed / all) : "–";
}

function showStreams({ streams, series }) {
  $("no-streams").hidden = streams.length > 0;
  $("streams-table").hidden = !streams.length;
  fill($("streams"), streams.map((each) => {
    const topics = sum(each.topics), waits = each.retry_in_s > 0, error = each.last_error || "none";
    return [
      each.market, worry(each.connections, topics > 0 && !each.connections), topics, each.topics.silent,
      worry(each.dead, each.dead > 0), fed([series.tails[each.market]]), each.connects_last_hour,
      worry(waits ? `${error}; next attempt in ${duration(each.retry_in_s)}` : error, waits || (topics > 0 && !each.connections))];
  }));
}

function showListeners({ listeners }) {
  const ever = listeners.filter((each) => sum(each.listeners) + each.frames + sum(each.events) + sum(each.closed) > 0);
  $("no-listeners").hidden = ever.length > 0;
  $("listeners-table").hidden = !ever.length;
  fill($("listeners"), ever.map((each) => [
    each.market, each.listeners.websocket, each.topics, each.frames, sum(each.dropped),
    worry(sum(each.closed), each.closed.slow > 0), each.listeners.events, each.series, sum(each.events),
    each.listeners.wait]));
}

function showFigures(status) {
  const { last_minute: now, last_minutes: some, total } = status.shares, { answers } = status;
  const calls = Object.values(status.calls).reduce((all, each) => all + each.minute.calls, 0);
  const figures = [ // name, value, whether it is a reason to worry
    ["Answers a second", rate.format(perSecond(answers.by_second))],
    ["Half took, last minute", took(answers.seconds.all?.p50)], ["99% took, last minute", took(answers.seconds.all?.p99)],
    ["Hit ratio, last minute", share(now.hit_ratio)], ["Hit ratio, since the start", share(total.hit_ratio)],
    ["Marked, last minute", share(now.marked), now.marked > 0], ["Failed, last minute", share(now.failed), now.failed > 0],
    ["Marked, 5 minutes", share(some.marked), some.marked > 0], ["Failed, 5 minutes", share(some.failed), some.failed > 0],
    ["Age of tails shown, 99%", took(oldest(answers.tail_ages))],
    ["Reads from Binance, last minute", count.format(calls)],
    ["Tails fed by streams", fed(Object.values(status.series.tails))],
    ["Reads under way", count.format(status.flights)], ["Series", count.format(status.series.count)],
    ["Rows in memory", count.format(status.series.rows)], ["Memory", bytes(status.stores.memory?.bytes ?? 0)],
    ["Running for", duration(status.uptime_s)],
  ];
  const list = $("figures");
  if (list.children.length !== figures.length) {
    list.replaceChildren(...figures.map(([name]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd"));
      return pair;
    }));
  }
  figures.forEach(([, value, worrying], place) => {
    const shown = list.children[place].lastElementChild;
    setText(shown, value);
    shown.className = worrying ? "warning" : "";
  });
  fill($("requests"), Object.entries(status.requests).map(([name, all]) =>
    [name, status.requests_last_minute[name] ?? 0, took(answers.seconds[name]?.p50), took(answers.seconds[name]?.p99), all,
      status.results[name] ?? ""]));
}

/** The greatest of the markets' ages, of which 99 of a hundred shown tails are younger. */
function oldest(ages) {
  const found = Object.values(ages).map((each) => each.p99);
  return found.length ? Math.max(...found) : undefined;
}

function show(status) {
  setText($("version"), status.version);
  const troubles = [...status.reasons, ...status.degraded], degraded = status.degraded.length > 0;
  health(!status.ready ? "not ready" : degraded ? "ready, but degraded" : "ready", !status.ready ? "bad" : degraded ? "warning" : "good");
  $("troubles").replaceChildren(...troubles.map((each) => element("li", each)));
  $("troubles").className = status.ready ? "warning" : "bad";
  $("troubles").hidden = !troubles.length;
  for (const family of status.families) showFamily(family, status.weights[family.family]);
  showUpstreams(status);
  showProfile(status);
  showAlarm(status);
  showFigures(status);
  showAnswers(status);
  showSpenders(status);
  showClosures(status);
  showStreams(status);
  showListeners(status);
  fill($("calls"), Object.entries(status.calls).map(([reason, { minute, total }]) =>
    [reason, minute.calls, minute.weight, minute.failed, total.calls]));
  fill($("events"), status.events.map((each) => [moment(each.at_ms), each.where, each.what, each.kind, each.count]));
  fill($("clocks"), Object.entries(status.clocks).map(([market, clock]) => [
    market, clock.offset_ms ?? "not measured", clock.error_ms, status.symbols[market]?.count,
    duration(status.symbols[market]?.age_s)]));
  fill($("ages"), Object.entries(status.answers.tail_ages).map(([market, { p50, p99 }]) => [market, took(p50), took(p99)]));
  fill($("stores"), Object.entries(status.stores).flatMap(([store, facts]) => flat(facts).map(([name, value]) =>
    [store, name, String(value)])));
  fill($("settings"), Object.entries(status.settings));
}

/** The facts of a store, whatever they are: [name, value] with dots for what lies deeper. */
function flat(facts, before = "") {
  return Object.entries(facts).flatMap(([name, value]) => value !== null && typeof value === "object"
    ? flat(value, `${before}${name}.`) : [[before + name, typeof value === "number" ? count.format(value) : value ?? "–"]]);
}

function health(text, className) {
  setText($("health"), text); // a live region: it speaks when this changes
  $("health").className = className;
}

// ------------------------------------------------------------------------------------------------ the series

const UNIT_S = { s: 1, m: 60, h: 3600, d: 86400, w: 604800, M: 2629746 };
const COLUMNS = [ // heading, what is shown, what it is sorted by
  ["Symbol", symbol, (each) => each.symbol],
  ["Market", (each) => each.market],
  ["Interval", interval, (each) => parseInt(each.interval, 10) * (UNIT_S[each.interval.slice(-1)] ?? 0)],
  ["Kind", (each) => each.kind],
  ["Rows", (each) => each.rows],
  ["Age", (each) => duration(each.age_s), (each) => each.age_s ?? Infinity],
  ["Source", (each) => each.source ?? (each.resting ? "stored" : "–")],
  ["Holes", (each) => each.holes],
];
const table = { all: [], shown: [], column: 0, down: false, first: -1, rowPx: 0 };

/** The symbol, which leads to the chart of the series; times in microseconds have none of their own. */
function symbol(each) {
  const { market, symbol: name, interval, contract_type: contract, kind, zone_minutes: zone, micros } = each;
  const shown = name + (contract ? ` ${contract}` : "");
  if (micros) return shown;
  const more = { ...(kind !== "klines" && { kind }), ...(contract && { contract }), ...(zone && { zone }) };
  return link(shown, `chart?${new URLSearchParams({ market, symbol: name, interval, ...more })}`);
}

function interval(each) {
  const zone = each.zone_minutes, sign = zone < 0 ? "−" : "+";
  return each.interval + (each.micros ? ", µs" : "")
    + (zone ? ` ${sign}${Math.floor(Math.abs(zone) / 60)}:${String(Math.abs(zone) % 60).padStart(2, "0")}` : "");
}

function showSeries(list) {
  table.all = list.map((each) => ({ ...each, words: [each.symbol, each.contract_type, each.market, each.interval, each.kind,
    each.source ?? ""].map((word) => word.toLowerCase()) }));
  arrange();
}

/** Filters and sorts; a word must begin a cell, or be part of the symbol. */
function arrange() {
  const wanted = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (each) => wanted.every((want) => each.words[0].includes(want) || each.words.some((word) => word.startsWith(want)));
  const [, view, by = view] = COLUMNS[table.column], sign = table.down ? -1 : 1;
  table.shown = table.all.filter(fits);
  const keyed = table.shown.map((each) => [by(each), each]);
  keyed.sort(([a, one], [b, other]) => (a < b ? -sign : a > b ? sign : one.symbol < other.symbol ? -1 : one.symbol > other.symbol ? 1 : 0));
  table.shown = keyed.map(([, each]) => each);
  setText($("shown"), `${count.format(table.shown.length)} of ${count.format(table.all.length)}`);
  $("series").setAttribute("aria-rowcount", String(table.shown.length + 1));
  [...$("headings").children].forEach((heading, place) => heading.setAttribute("aria-sort",
    place !== table.column ? "none" : table.down ? "descending" : "ascending"));
  table.first = -1;
  scrolled();
}

/** Renders the rows in sight and a few more; the others are the height of two empty rows. */
function scrolled() {
  const frame = $("window"), body = $("series").tBodies[0], headings = $("headings").cells;
  const rowPx = table.rowPx || 30, fit = Math.ceil(frame.clientHeight / rowPx) + 2 * SPARE_ROWS;
  const most = Math.max(0, table.shown.length - fit);
  const first = Math.min(most, Math.max(0, Math.floor(frame.scrollTop / rowPx) - SPARE_ROWS));
  if (table.first >= 0 && Math.abs(first - table.first) < SPARE_ROWS / 2 && first !== 0 && first !== most) return;
  table.first = first;
  const rows = table.shown.slice(first, first + fit).map((each, place) => {
    const made = row(COLUMNS.map(([, view]) => view(each)), headings);
    made.setAttribute("aria-rowindex", String(first + place + 2));
    return made;
  });
  body.replaceChildren(spacer(first * rowPx), ...rows, spacer(Math.max(0, table.shown.length - first - fit) * rowPx));
  if (rows.length && !table.rowPx) table.rowPx = rows[0].getBoundingClientRect().height;
}

function spacer(heightPx) {
  const made = element("tr", undefined, "spacer"), cell = element("td");
  made.setAttribute("aria-hidden", "true");
  cell.colSpan = COLUMNS.length;
  cell.style.height = `${heightPx}px`;
  made.append(cell);
  return made;
}

function head() {
  COLUMNS.forEach(([name], place) => {
    const heading = element("th", undefined, ["Rows", "Age", "Holes"].includes(name) ? "number" : "");
    const button = element("button", name);
    heading.scope = "col";
    button.type = "button";
    button.addEventListener("click", () => {
      table.down = table.column === place && !table.down;
      table.column = place;
      $("window").scrollTop = 0;
      arrange();
    });
    heading.append(button);
    $("headings").append(heading);
  });
}

// ------------------------------------------------------------------------------------------------- polling

let paused = false, seriesAt = -Infinity, answeredAt = null;

async function poll() {
  if (!paused && !document.hidden) {
    const whole = performance.now() - seriesAt >= SERIES_MS;
    try {
      const reply = await fetch(whole ? "v1/status?series=1" : "v1/status", { signal: AbortSignal.timeout(10000) });
      if (!reply.ok) throw new Error(`status ${reply.status}`);
      const status = await reply.json();
      unheard = false;
      show(status);
      if (whole) {
        showSeries(status.series.list);
        seriesAt = performance.now();
      }
      answeredAt = new Date();
      setText($("updated"), `as of ${answeredAt.toISOString().slice(11, 19)} UTC`);
    } catch (error) {
      unheard = true;
      cards.forEach(showGate);
      health(`no answer from the daemon${answeredAt ? ` since ${answeredAt.toISOString().slice(11, 19)} UTC` : ""}`, "bad");
      console.warn("status:", error.message);
    }
  }
  setTimeout(poll, POLL_MS);
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
});
$("filter").addEventListener("input", () => { $("window").scrollTop = 0; arrange(); });
let drawn = 0;
$("window").addEventListener("scroll", () => { cancelAnimationFrame(drawn); drawn = requestAnimationFrame(scrolled); }, { passive: true });
window.addEventListener("resize", () => { table.rowPx = 0; table.first = -1; scrolled(); });
setInterval(() => { if (!paused) { cards.forEach(showGate); countDown(); } }, 1000);
head();
poll();
