// What is wrong with the page for those who can't see it well, or at all: a list of sentences.
const wrong = [];
// what a picture is made of is nothing to those who can't see it: they are told its name
const all = (selector) => [...document.querySelectorAll(selector)].filter((node) => !node.parentElement?.closest("[role=img]"));
const seen = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";
const named = (node) => node.getAttribute("aria-label")
  || (node.getAttribute("aria-labelledby") || "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join("")
  || [...(node.labels ?? [])].map((label) => label.textContent).join("");
const tell = (node) => `<${node.tagName.toLowerCase()} id="${node.id}" class="${node.getAttribute("class") ?? ""}"> ${node.textContent.trim().slice(0, 40)}`;

if (!document.documentElement.lang) wrong.push("no language");
if (!document.title) wrong.push("no title");
for (const landmark of ["header", "main", "footer", "nav", "h1"]) {
  if (all(landmark).length !== 1) wrong.push(`not one ${landmark}`);
}
let level = 0;
for (const heading of all("h1, h2, h3, h4, h5, h6")) {
  const next = Number(heading.tagName[1]);
  if (next > level + 1) wrong.push(`a level is skipped before ${tell(heading)}`);
  level = next;
}
const ids = all("[id]").map((node) => node.id);
if (new Set(ids).size !== ids.length) wrong.push("an id twice");
for (const node of all("button, a, input, select, summary")) {
  if (!seen(node)) continue;
  if (!named(node) && (node.tagName === "INPUT" || !node.textContent.trim())) wrong.push(`no name: ${tell(node)}`);
  const box = node.getBoundingClientRect();
  if (box.width < 24 || box.height < 24) wrong.push(`smaller than 24 pixels (${box.width} × ${box.height}): ${tell(node)}`);
}
for (const node of all("[role=region], [role=meter], [role=img], section, nav, table, ul[aria-label]")) {
  if (!named(node)) wrong.push(`no name: ${tell(node)}`);
}
for (const node of all("[role=meter]")) {
  for (const name of ["aria-valuenow", "aria-valuemin", "aria-valuemax", "aria-valuetext"]) {
    if (!node.hasAttribute(name)) wrong.push(`a meter without ${name}`);
  }
}
for (const frame of all(".scroll")) {
  if (frame.tabIndex !== 0) wrong.push(`the keyboard can't scroll ${tell(frame)}`);
}
for (const table of all("table")) {
  const heads = [...table.tHead.rows[0].cells];
  if (heads.some((cell) => cell.tagName !== "TH" || cell.scope !== "col")) wrong.push(`a column without a header: ${tell(table)}`);
  for (const body of table.tBodies) {
    for (const tr of body.rows) {
      const cells = [...tr.cells], whole = cells.length === 1 && cells[0].colSpan === heads.length;
      if (!whole && (cells[0].tagName !== "TH" || cells[0].scope !== "row")) wrong.push(`a row without a header: ${tell(tr)}`);
      if (!whole && cells.length !== heads.length) wrong.push(`a row of another length: ${tell(tr)}`);
    }
  }
}
if (document.documentElement.scrollWidth > innerWidth) wrong.push(`wider than the window: ${document.documentElement.scrollWidth}`);

// Contrast as WCAG 2.2 computes it, 1.4.3: at least 4.5 for every text, whatever its size.
const rgba = (text) => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
const over = ([r, g, b, a], under) => [r, g, b].map((channel, i) => channel * a + under[i] * (1 - a));
const backOf = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) {
    layers.push(rgba(getComputedStyle(at).backgroundColor));
    if (layers.at(-1)[3] === 1) break;
  }
  return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
};
const light = (color) => color.map((channel) => channel / 255)
  .map((channel) => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4))
  .reduce((sum, channel, i) => sum + channel * [0.2126, 0.7152, 0.0722][i], 0);
let texts = 0;
for (const node of all("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if ((!own && node.tagName !== "INPUT") || !seen(node)) continue;
  texts += 1;
  const back = backOf(node), front = over(rgba(getComputedStyle(node).color), back);
  const [a, b] = [light(front), light(back)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)}: ${tell(node)}`);
}
if (texts < 40) wrong.push(`only ${texts} texts were looked at`);
return wrong;
