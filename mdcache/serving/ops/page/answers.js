// The last minutes and what is urgent: answers by second, who costs most, which gates were closed, upstreams.
import { $, duration, element, fill, link, moment, percent, setText, sum } from "./elements.js";

const STEP_S = 5, WIDTH = 300, HEIGHT = 80, RATE_S = 10;
const ORDER = ["hit", "collapsed", "partial", "miss", "stale", "error", "refused"]; // from the bottom up
const rate = new Intl.NumberFormat("en-GB", { maximumSignificantDigits: 3 });

// ------------------------------------------------------------------------------------------------ answers

/** At most so long: the upper end of a histogram's bucket. */
export function took(seconds) {
  if (seconds === undefined) return "–";
  return seconds < 1 ? `≤ ${rate.format(1000 * seconds)} ms` : `≤ ${rate.format(seconds)} s`;
}

/** Answers a second over the last whole seconds. */
export function perSecond(bySecond) {
  return sum(Object.values(bySecond).map((each) => sum(each.slice(-RATE_S)))) / RATE_S;
}

export function showAnswers({ answers, shares }) {
  const named = Object.keys(answers.by_second).sort((one, other) => place(one) - place(other));
  const steps = named.map((name) => inSteps(answers.by_second[name]));
  drawStack(named, steps);
  $("rates").replaceChildren(...named.map((name, at) => {
    const now = sum(answers.by_second[name].slice(-RATE_S)) / RATE_S;
    return element("li", `${name} ${rate.format(now)}/s, peak ${rate.format(Math.max(...steps[at]))}/s`, kind(name));
  }));
  drawShares(shares.by_step);
}

function place(name) {
  return ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length;
}

function kind(name) {
  return ORDER.includes(name) ? name : "refused";
}

function inSteps(bySecond) {
  const found = [];
  for (let at = 0; at < bySecond.length; at += STEP_S) found.push(sum(bySecond.slice(at, at + STEP_S)) / STEP_S);
  return found;
}

/** Each result's area stands on those below it. */
function drawStack(named, steps) {
  const chart = $("answers-chart"), length = steps[0]?.length ?? 1, base = new Array(length).fill(0);
  const tops = steps.map((each) => each.map((value, at) => base[at] += value)), top = 1.1 * Math.max(...base, 0.1);
  const y = (value) => (HEIGHT - HEIGHT * value / top).toFixed(2), x = (at) => (WIDTH * at / length).toFixed(2);
  const paths = tops.map((each, layer) => {
    const path = svg("path", kind(named[layer])), under = layer ? tops[layer - 1] : new Array(length).fill(0);
    const there = each.map((value, at) => `L${x(at)} ${y(value)}H${x(at + 1)}`).join("").replace("L", "M");
    const back = under.map((value, at) => `L${x(at + 1)} ${y(value)}H${x(at)}`).reverse().join("");
    path.setAttribute("d", `${there}${back}Z`);
    return path;
  });
  chart.replaceChildren(...paths);
  setText($("answers-top"), `top: ${rate.format(top)} a second`);
  chart.setAttribute("aria-label", `Answers a second in the last five minutes: at most ${rate.format(Math.max(...base))}`);
}

/** The marked and the failed share of questions. */
function drawShares({ marked, failed }) {
  const top = Math.max(0.05, ...marked, ...failed), chart = $("shares-chart");
  chart.replaceChildren(...[["stale", marked], ["error", failed]].map(([name, parts]) => {
    const x = (at) => (WIDTH * at / parts.length).toFixed(2), path = svg("path", `${name} line`);
    const line = parts.map((part, at) => `L${x(at)} ${(HEIGHT - HEIGHT * (part ?? 0) / top).toFixed(2)}H${x(at + 1)}`);
    path.setAttribute("d", line.join("").replace("L", "M"));
    return path;
  }));
  setText($("shares-top"), `top: ${percent.format(top)}`);
  chart.setAttribute("aria-label", `Highest in the last five minutes: ${percent.format(Math.max(0, ...marked))} marked, `
    + `${percent.format(Math.max(0, ...failed))} failed`);
}

function svg(tag, className) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  made.setAttribute("class", className);
  return made;
}

// ------------------------------------------------------------------------------------- who costs, what was closed

export function showSpenders({ spenders }) {
  for (const kind of ["clients", "series"]) {
    fill($(`heavy-${kind}`), spenders[kind].map((each) => [each.name, each.weight, each.calls, each.failed]));
  }
}

export function showClosures({ closures: listed }) {
  fill($("closures"), listed.map((each) => [
    moment(each.at_ms), each.family, link(WORDS[each.reason] ?? each.reason, runbook(each.runbook)), moment(each.until_ms)]));
}

const WORDS = { 418: "418: a ban", 403: "403: the web firewall", 429: "429: too much weight", 451: "451: not from this region" };
const SECTIONS = { 418: "mdcachebanned", 403: "mdcacheforbidden", 429: "mdcacheratelimited" };

function runbook(section) {
  return `page/runbook.html#${encodeURIComponent(section)}`;
}

// ------------------------------------------------------------------------------------------------ what is urgent

const closures = new Map(); // by family: since when it was closed, until when, why

/** Keeps which gates are shut, and says so at the top of the page and in the tab's title. */
export function showAlarm({ families, clocks, upstreams }) {
  closures.clear();
  for (const { family, gate_state, gate_reason, reopens_in_s } of families) {
    if (gate_state !== "closed" && gate_state !== "probing") continue;
    const { now_ms } = family === "spot" ? clocks.spot : clocks.usdm;
    closures.set(family, { reason: gate_reason, untilMs: now_ms + 1000 * reopens_in_s, opensAt: performance.now() + 1000 * reopens_in_s });
  }
  const lines = [...closures].map(([family, { reason, untilMs }]) => {
    const line = element("li"), more = element("a", "What to do");
    line.append(`${closed(family, reason)} ${clock(untilMs)} UTC `, element("span", "", "left"), " ", more);
    line.firstElementChild.setAttribute("aria-hidden", "true"); // it changes each second
    more.href = runbook(SECTIONS[reason] ?? "mdcachegateclosed");
    return line;
  });
  const alarm = $("alarm"), said = lines.map((line) => line.firstChild.textContent).join();
  if (alarm.dataset.said !== said) {
    alarm.dataset.said = said;
    alarm.replaceChildren(...lines);
    alarm.hidden = !lines.length;
  }
  countDown();
  const worst = [...closures.values()].sort((one, other) => (other.reason === "418") - (one.reason === "418"))[0];
  const urgent = worst && `${worst.reason === "418" ? "BANNED" : `closed by ${worst.reason}`} until ${clock(worst.untilMs)} UTC`;
  document.title = [urgent, upstreams.not_binance.length && "NOT BINANCE", "mdcache"].filter(Boolean).join(" – ");
}

function closed(family, reason) {
  return reason === "418" ? `Binance has banned this address: ${family} is not asked until`
    : `${family} is closed by ${reason}: not asked until`;
}

/** The seconds that are left. */
export function countDown() {
  const shown = $("alarm").querySelectorAll(".left");
  [...closures.values()].forEach(({ opensAt }, at) => {
    const left = (opensAt - performance.now()) / 1000;
    if (shown[at]) setText(shown[at], left > 0 ? `(in ${duration(Math.ceil(left))})` : "(a probe may go now)");
  });
}

function clock(ms) {
  const words = new Date(ms).toISOString();
  return ms - Date.now() < 43200000 ? words.slice(11, 19) : words.slice(0, 19).replace("T", " ");
}

/** What is asked, and by which address; a page that shows other data than Binance's must not look like one that does. */
export function showUpstreams({ upstreams }) {
  const { urls, egress, not_binance: others } = upstreams;
  const named = (markets) => {
    const byUrl = new Map();
    markets.forEach((market) => byUrl.set(urls[market], [...byUrl.get(urls[market]) ?? [], market]));
    return [...byUrl].map(([url, each]) => `${each.join(", ")} from ${url}`).join("; ");
  };
  $("unreal").hidden = !others.length;
  if (others.length) setText($("unreal"), `Not Binance: ${named(others)}`);
  document.body.classList.toggle("unreal", others.length > 0);
  setText($("upstreams"), `Reads ${named(Object.keys(urls))}, by the address “${egress}”`);
}

/** What the daemon takes from the exchange profile, and what it does not. */
export function showProfile({ profile }) {
  $("profile").hidden = !profile;
  if (!profile) return;
  const named = (notes) => notes.map(({ fact, measured, effect }) => `${fact} ${JSON.stringify(measured)} (${effect})`);
  const parts = [
    [" Taken: ", named(profile.notes.filter(({ taken }) => taken))],
    [" Not as assumed, not taken: ", named(profile.notes.filter(({ taken }) => !taken))],
    [" Refused: ", profile.refused],
  ].filter(([, each]) => each.length).map(([about, each]) => `${about}${each.join("; ")}.`);
  const when = profile.measured_at_ms ? ` of ${new Date(profile.measured_at_ms).toISOString().slice(0, 16).replace("T", " ")} UTC` : "";
  setText($("profile"), `Exchange profile${when}: ${profile.facts} facts.${parts.join("")}`);
}
