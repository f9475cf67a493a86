/* Row by row: filters, the list, and one row in full. The address holds the row and the filters. */

const view = { find: "", pair: "", verdict: "", field: "", sort: "telling", flags: new Set(), at: null, shown: 200, rows: data.rows };
const FLAGS = [
  ["differ", "Answers differ", (r) => r.differs.length > 0],
  ["split", "Orders disagree", (r) => r.items.some((i) => i.split)],
  ["labels", "Judge against labels", (r) => r.items.some((i) => i.against_labels)],
  ["failed", "Failed", (r) => r.errors.some(Boolean)],
];
const haystacks = new Map();

function haystack(row) {
  if (!haystacks.has(row.i)) haystacks.set(row.i, [flat(row.input), flat(row.answers), flat(row.errors),
    row.items.map((item) => item.verdicts.map((v) => v.why)), row.scores.map((each) => each.why)].flat(3).join(" ").toLowerCase());
  return haystacks.get(row.i);
}

const winner = (item) => (item.outcome === "A" ? item.a : item.outcome === "B" ? item.b : item.outcome);
const itemsOf = (row) => (view.pair === "" ? row.items : row.items.filter((item) => item.pair === Number(view.pair)));

function keep(row) {
  const items = itemsOf(row);
  if (view.pair !== "" && !items.length) return false;
  if (view.verdict === "none" && !items.some((item) => item.outcome === null)) return false;
  if (view.verdict === "tie" && !items.some((item) => item.outcome === "tie")) return false;
  if (view.verdict.startsWith("=") && !items.some((item) => winner(item) === view.verdict.slice(1))) return false;
  if (view.field !== "" && !row.differs.includes(data.fields[Number(view.field)])) return false;
  for (const [name, , test] of FLAGS) if (view.flags.has(name) && !test(row)) return false;
  return !view.find || haystack(row).includes(view.find);
}

function refresh() {
  view.rows = data.rows.filter(keep);
  if (view.sort === "order") view.rows.sort((a, b) => a.i - b.i);
  view.shown = 200;
  if (!view.rows.some((row) => row.i === view.at)) view.at = view.rows.length ? view.rows[0].i : null;
  drawList();
  drawDetail();
}

function reasons(row) {
  const chips = [];
  if (row.errors.some(Boolean)) chips.push(["bad", `${plural(row.errors.filter(Boolean).length, "answer")} failed`]);
  if (row.items.some((item) => item.against_labels)) chips.push(["warn", "judge against labels"]);
  if (row.items.some((item) => item.split)) chips.push(["warn", "orders disagree"]);
  const named = row.differs.filter(Boolean);
  if (named.length) chips.push(["", `${named.slice(0, 3).join(", ")}${named.length > 3 ? ` and ${named.length - 3} more` : ""}`]);
  else if (!row.differs.length && row.answers.filter((a) => a !== null).length > 1) chips.push(["", "same answers"]);
  return chips.length ? h("div", { class: "chips" }, chips.map(([kind, text]) => h("span", { class: `chip ${kind}` }, text))) : "";
}

function verdictLine(row) {
  const items = itemsOf(row);
  if (items.length !== 1) return "";
  const who = winner(items[0]);
  return h("span", { class: "won" }, who === "tie" ? "tie" : who === null ? (items[0].verdicts.length ? "no verdict" : "") : modelName(who));
}

function drawList() {
  const list = byId("list");
  const upTo = Math.max(view.shown, view.rows.findIndex((row) => row.i === view.at) + 1);
  list.replaceChildren(...view.rows.slice(0, upTo).map((row) => h("li", {},
    h("button", { type: "button", "data-row": row.i, "aria-current": String(row.i === view.at), onclick: () => open(row.i, true) },
      h("span", { class: "line" }, h("b", {}, `Row ${row.i}`), verdictLine(row)),
      h("span", { class: "snippet", dir: "auto" }, flat(row.input).slice(0, 200) || "empty"), reasons(row)))));
  if (upTo < view.rows.length) list.append(h("li", {}, h("button", { type: "button", onclick: () => { view.shown = upTo + 200; drawList(); } },
    `Show more (${number(view.rows.length - upTo)} left)`)));
  if (!view.rows.length) list.append(h("li", { class: "empty" }, "No row passes these filters."));
  const filtered = view.rows.length !== data.rows.length;
  byId("count").textContent = filtered ? `${number(view.rows.length)} of ${plural(data.rows.length, "row")}` : plural(data.rows.length, "row");
  byId("clear").hidden = !filtered;
}

function verdictText(item, verdict) {
  if (verdict === null) return h("span", { class: "null" }, "could not be read");
  return verdict === "tie" ? "Tie" : h("span", {}, modelName(verdict === "A" ? item.a : item.b), " is better");
}

function judged(row, find) {
  const shown = itemsOf(row).filter((item) => item.verdicts.length || item.labels.length);
  if (!shown.length) return "";
  const seen = (item, v) => (v.order === "both" ? "both orders" : `${(v.order === "AB") === true ? item.a : item.b} shown first`);
  return [h("h4", {}, "Verdicts and reasons"), shown.map((item) => [
    h("p", { class: "pairhead" }, modelName(item.a), h("span", { class: "soft" }, "against"), modelName(item.b),
      item.split ? h("span", { class: "chip warn" }, "orders disagree") : "", item.against_labels ? h("span", { class: "chip warn" }, "judge against labels") : ""),
    h("div", { class: "reasons" },
      item.verdicts.map((v) => h("div", { class: "reason" },
        h("p", { class: "who" }, `${v.judge} · ${seen(item, v)}`), h("p", { class: "what" }, verdictText(item, v.verdict)),
        v.why ? h("div", { class: "small" }, textNode(v.why, find)) : "")),
      item.labels.map((l) => h("div", { class: "reason" }, h("p", { class: "who" }, `label of ${l.by}`), h("p", { class: "what" }, verdictText(item, l.label)))))])];
}

function scored(row, find) {
  if (!row.scores.length) return "";
  return [h("h4", {}, "Scores and reasons"), h("div", { class: "reasons" }, row.scores.map((each) => h("div", { class: "reason" },
    h("p", { class: "who" }, `${each.judge} · ${each.criterion}`), h("p", { class: "what" }, modelName(each.model), " ", known(each.score) ? number(each.score, 2) : "unread"),
    each.why ? h("div", { class: "small" }, textNode(each.why, find)) : "")))];
}

function drawDetail() {
  const place = byId("detail");
  const row = data.rows.find((each) => each.i === view.at);
  if (!row) { place.replaceChildren(h("p", { class: "empty" }, "Choose a row.")); return; }
  const at = view.rows.indexOf(row);
  const others = Object.keys(row.other);
  place.replaceChildren(...[h("div", { class: "bar" },
    h("button", { class: "quiet back", type: "button", onclick: () => { byId("view").dataset.view = "list"; byId("explorer").scrollIntoView(); } }, "‹ All rows"),
    h("h3", {}, `Row ${row.i}`, h("span", { class: "soft small" }, at >= 0 ? `  ${number(at + 1)} of ${number(view.rows.length)}` : "")),
    h("button", { class: "button", type: "button", disabled: at <= 0, "aria-label": "Previous row", onclick: () => step(-1) }, "‹"),
    h("button", { class: "button", type: "button", disabled: at >= view.rows.length - 1, "aria-label": "Next row", onclick: () => step(1) }, "›")),
    reasons(row), h("h4", {}, Object.keys(row.input).length === 1 ? `Input: ${Object.keys(row.input)[0]}` : "Input"), inputs(row, view.find),
    others.length ? h("details", { class: "small", style: { marginTop: "8px" } }, h("summary", { class: "soft" }, plural(others.length, "other column")),
      h("div", { class: "value", style: { marginTop: "6px" } }, show(row.other, view.find))) : "",
    h("h4", {}, `Answers: ${data.column}`), answers(row, view.find), judged(row, view.find), scored(row, view.find)].flat(Infinity).filter(Boolean));
}

/** Shows a row; `chosen` when the user asked for it, which on a narrow page turns to it. */
function open(i, chosen) {
  view.at = i;
  if (chosen) byId("view").dataset.view = "detail";
  const list = byId("list");
  if (!list.querySelector(`[data-row="${i}"]`)) drawList();
  for (const button of list.querySelectorAll("[data-row]")) button.setAttribute("aria-current", String(Number(button.dataset.row) === i));
  drawDetail();
  if (!chosen) return;
  remember();
  const button = list.querySelector(`[data-row="${i}"]`);
  if (button && button.offsetParent) list.scrollTop = Math.min(Math.max(list.scrollTop, button.offsetTop + button.offsetHeight - list.clientHeight + 60), button.offsetTop - 60);
  if (byId("detail").getBoundingClientRect().top < 0 || byId("detail").getBoundingClientRect().top > innerHeight * 0.6) byId("view").scrollIntoView({ block: "start" });
}

function step(by) {
  const at = view.rows.findIndex((row) => row.i === view.at) + by;
  if (at >= 0 && at < view.rows.length) open(view.rows[at].i, true);
}

function remember() {
  const state = new URLSearchParams();
  if (known(view.at)) state.set("row", view.at);
  for (const name of ["find", "pair", "verdict", "field"]) if (view[name] !== "") state.set(name, view[name]);
  if (view.sort !== "telling") state.set("sort", view.sort);
  if (view.flags.size) state.set("only", [...view.flags].join(","));
  history.replaceState(null, "", `#${state}`);
}

/** Takes row and filters from the address; true when it names a row. */
function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const name of ["find", "pair", "verdict", "field"]) view[name] = state.get(name) || "";
  view.find = view.find.toLowerCase();
  view.sort = state.get("sort") || "telling";
  view.flags = new Set((state.get("only") || "").split(",").filter(Boolean));
  for (const control of document.querySelectorAll("[data-filter]")) control.value = view[control.dataset.filter];
  for (const box of document.querySelectorAll("[data-flag]")) box.checked = view.flags.has(box.dataset.flag);
  const row = state.has("row") && data.rows.find((each) => each.i === Number(state.get("row")));
  if (row) view.at = row.i;
  return Boolean(row);
}

function filters() {
  const changed = () => { refresh(); remember(); byId("view").dataset.view = "list"; };
  const select = (name, label, options) => options.length > 1 && h("select", { "data-filter": name, "aria-label": label,
    onchange: (event) => { view[name] = event.target.value; changed(); } }, options.map(([value, text]) => h("option", { value }, text)));
  let wait = 0;
  const find = h("input", { type: "search", "data-filter": "find", placeholder: "Search inputs, answers, reasons", "aria-label": "Search", oninput: () => {
    clearTimeout(wait);
    wait = setTimeout(() => { view.find = find.value.trim().toLowerCase(); changed(); }, 120);
  } });
  const won = data.models.map((m) => [`=${m}`, `${m} better`]);
  const boxes = FLAGS.map(([name, text, test]) => [name, text, data.rows.filter(test).length]).filter(([, , n]) => n);
  return h("div", { class: "filters", role: "search", "aria-label": "Filter rows" }, find,
    select("pair", "Pair of models", data.pairs.length > 1 ? [["", "All pairs"], ...data.pairs.map(([a, b], i) => [String(i), `${a} against ${b}`])] : []),
    select("verdict", "Verdict", data.verdicts || data.labels ? [["", "Any verdict"], ...won, ["tie", "Tie"], ["none", "No readable verdict"]] : []),
    select("field", "Field that differs", data.fields.length ? [["", "Any field"], ...data.fields.map((f, i) => [String(i), `${f} differs`])] : []),
    boxes.map(([name, text, n]) => h("label", { class: "toggle" }, h("input", { type: "checkbox", "data-flag": name, onchange: (event) => {
      if (event.target.checked) view.flags.add(name); else view.flags.delete(name);
      changed();
    } }), text, " ", h("small", {}, number(n)))),
    select("sort", "Order", [["telling", "Most telling first"], ["order", "In the table's order"]]));
}

function drawExplorer() {
  byId("explorer").append(filters(), h("div", { class: "counted" },
    h("span", { id: "count", role: "status", "aria-live": "polite" }),
    h("button", { id: "clear", class: "quiet", type: "button", hidden: true, onclick: () => { location.hash = ""; recall(); refresh(); } }, "Clear the filters"),
    h("span", { class: "keys" }, h("kbd", {}, "j"), " ", h("kbd", {}, "k"), " next and previous row, ", h("kbd", {}, "/"), " search")),
    h("div", { class: "explorer", id: "view", "data-view": "list" }, h("ol", { class: "list", id: "list", "aria-label": "Rows" }),
      h("article", { class: "detail", id: "detail", tabindex: -1, "aria-label": "The chosen row" })));
  const turn = () => {
    const named = recall();
    refresh();
    // A link to a row that its own filters would hide still shows the row.
    if (named) { open(view.at, false); byId("view").dataset.view = "detail"; byId("view").scrollIntoView({ block: "start" }); }
  };
  turn();
  addEventListener("hashchange", turn);
  addEventListener("keydown", (event) => {
    if (!byId("labelling").hidden) return;
    if (event.key === "Escape" && event.target.matches("input[type=search]")) event.target.blur();
    if (typing(event)) return;
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    else if (event.key === "/") { event.preventDefault(); document.querySelector("[data-filter=find]").focus(); }
  });
}
