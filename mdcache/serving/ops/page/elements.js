// What the parts of the status page share: elements, tables, words. Whatever comes is set as text, never as markup.
export const $ = (id) => document.getElementById(id);
export const count = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0, signDisplay: "negative" });
export const percent = new Intl.NumberFormat("en-GB", { style: "percent", maximumFractionDigits: 1 });

// ------------------------------------------------------------------------------------------------ elements

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A cell that is a reason to worry, if `worrying`. */
export function worry(value, worrying) {
  return worrying ? { value, worrying } : value;
}

/** A cell that leads somewhere. */
export function link(value, href) {
  return { value, href };
}

/** A row whose first cell heads it; its cells are classed as the headings above them are. */
export function row(cells, headings) {
  const made = document.createElement("tr");
  cells.forEach((cell, place) => {
    const { value, worrying, href } = cell !== null && typeof cell === "object" ? cell : { value: cell };
    const text = typeof value === "number" ? count.format(value) : String(value ?? "–");
    const td = element(place ? "td" : "th", href ? undefined : text, headings[place].className + (worrying ? " warning" : ""));
    if (href) td.append(Object.assign(element("a", text), { href }));
    if (!place) td.scope = "row";
    made.append(td);
  });
  return made;
}

const filled = new Map();

/** Puts rows into a table's body, where they are others than before. */
export function fill(body, cells) {
  const key = JSON.stringify(cells);
  if (filled.get(body) === key) return;
  filled.set(body, key);
  const headings = body.parentElement.tHead.rows[0].cells, none = element("tr"), nothing = element("td", "none");
  nothing.colSpan = headings.length;
  none.append(nothing);
  body.replaceChildren(...(cells.length ? cells.map((each) => row(each, headings)) : [none]));
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// --------------------------------------------------------------------------------------------------- words

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds), pad = (n) => String(n).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${pad(whole % 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}:${pad(Math.floor((whole % 3600) / 60))} h`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function bytes(number) {
  return number < 1e6 ? `${count.format(number / 1e3)} kB` : `${count.format(number / 1e6)} MB`;
}

/** The time of day of the last 24 hours, else the date, too. */
export function moment(ms) {
  const words = new Date(ms).toISOString().replace("T", " ").slice(0, 19);
  return Math.abs(Date.now() - ms) < 86400000 ? words.slice(11) : words;
}

export function share(part) {
  return part === null ? "–" : percent.format(part);
}

export function sum(counts) {
  return Object.values(counts).reduce((all, each) => all + each, 0);
}
