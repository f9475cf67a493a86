/* Helpers. Text from the data only ever becomes text nodes: nothing here parses markup. */

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** An HTML element: h("p", {class: "soft"}, "text", node, [more]). */
const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
/** An SVG element. */
const s = (tag, props, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

const known = (value) => value !== null && value !== undefined;
const number = (value, digits = 0) =>
  known(value) ? value.toLocaleString("en", { maximumFractionDigits: digits }) : "–";
const percent = (share) => (known(share) ? `${Math.round(share * 100)}%` : "–");
const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(Math.round(share * 100))}`;
const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

function money(usd) {
  if (!known(usd)) return "–";
  if (usd === 0) return "$0";
  if (usd >= 100) return `$${number(usd)}`;
  return usd >= 0.1 ? `$${usd.toFixed(2)}` : `$${Number(usd.toPrecision(2)).toString()}`;
}

function duration(ms) {
  if (!known(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60000).toFixed(1)} min`;
}

const colour = (model) => `m${Math.max(0, data.models.indexOf(model)) % 8}`;
const modelName = (model) => h("span", { class: `model ${colour(model)}`, dir: "auto" }, model);
// A corrected rate's interval may reach beyond what a share can be.
const low = (e) => Math.max(0, e.low);
const high = (e) => Math.min(1, e.high);
const narrow = (e) => `${Math.round(low(e) * 100)}–${percent(high(e))}`;
const interval = (e) => `${percent(low(e))} to ${percent(high(e))}`;

/** A generator of numbers in [0, 1) from a text seed: the same on every machine (mulberry32). */
function random(seed) {
  let state = 2166136261;
  for (const char of String(seed)) state = Math.imul(state ^ char.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Offers `text` as a file of the user's; nothing leaves the machine. */
function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const csvCell = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
const csv = (rows) => rows.map((row) => row.map((v) => csvCell(String(v))).join(",") + "\r\n").join("");

const isStruct = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const flat = (value) =>
  value === null ? "" : typeof value === "object" ? Object.values(value).map(flat).join(" ") : String(value);

/** Text with every occurrence of `find` outlined. */
function found(text, find) {
  if (!find) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  // Lower-casing may change a text's length (İ): then positions would be wrong, so nothing is marked.
  if (lower.length !== text.length) return [text];
  for (let at = lower.indexOf(find); at >= 0; at = lower.indexOf(find, from)) {
    parts.push(text.slice(from, at), h("mark", { class: "find" }, text.slice(at, at + find.length)));
    from = at + find.length;
  }
  return [...parts, text.slice(from)];
}

const typing = (event) =>
  event.target.matches("input:not([type=checkbox]), select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
