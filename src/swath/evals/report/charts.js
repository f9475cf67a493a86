/* The pictures. Two are drawn as SVG at the width they get; the rest are tables and boxes. */

function figure(title, about, body, wide) {
  const node = h("figure", wide ? { style: { gridColumn: "1 / -1" } } : {}, h("figcaption", {}, h("h3", {}, title), h("p", {}, about)), body);
  byId("charts").append(node);
  return node;
}

/** Round steps that cover low to high in about `count` ticks. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((m) => m >= rough);
  const list = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) list.push(v);
  return list;
}

function scatter(place, list, xName, xText) {
  const width = Math.max(260, place.clientWidth), height = 290;
  const left = 44, right = 18, top = 14, bottom = 42;
  const xs = list.map((p) => p.x);
  const xLow = Math.min(...xs), xHigh = Math.max(...xs);
  const log = xLow > 0 && xHigh / xLow > 12;
  const x0 = log ? Math.log10(xLow) - 0.15 : 0, x1 = log ? Math.log10(xHigh) + 0.15 : xHigh * 1.12 || 1;
  const share = list[0].share;
  let y0 = Math.min(...list.map((p) => (known(p.low) ? p.low : p.y))), y1 = Math.max(...list.map((p) => (known(p.high) ? p.high : p.y)));
  const room = (y1 - y0 || (share ? 0.2 : 1)) * 0.14;
  y0 -= room; y1 += room;
  if (share) { y0 = Math.max(0, y0); y1 = Math.min(1, y1); }
  const px = (x) => left + ((log ? Math.log10(x) : x) - x0) / (x1 - x0) * (width - left - right);
  const py = (y) => height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom);
  const told = list.map((p) => `${p.model}: ${share ? percent(p.y) : p.y.toFixed(2)}, ${xText(p.x)}`).join("; ");
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": told });
  for (const t of ticks(y0, y1, 4)) svg.append(
    s("line", { class: "grid", x1: left, x2: width - right, y1: py(t), y2: py(t) }),
    s("text", { x: left - 8, y: py(t) + 4, "text-anchor": "end" }, share ? percent(t) : Number(t.toFixed(2))));
  if (share && y0 < 0.5 && y1 > 0.5) svg.append(s("line", { class: "half", x1: left, x2: width - right, y1: py(0.5), y2: py(0.5) }));
  const marks = log ? logTicks(xLow, xHigh) : ticks(0, x1, width < 420 ? 3 : 5);
  for (const t of marks) if (px(t) <= width - right + 1) svg.append(
    s("text", { x: px(t), y: height - bottom + 18, "text-anchor": "middle" }, xText(t)));
  svg.append(s("text", { x: width - right, y: height - 4, "text-anchor": "end" }, `${xName}${log ? " (log scale)" : ""}`));
  const front = list.filter((p) => p.front).sort((a, b) => a.x - b.x);
  const path = front.map((p, i) => (i ? `H${px(p.x)}V${py(p.y)}` : `M${px(p.x)},${py(p.y)}`)).join("");
  if (front.length > 1) svg.append(s("path", { class: "front", d: path }));
  for (const p of list) {
    if (known(p.low)) svg.append(s("line", { class: `whisker ${colour(p.model)}`, x1: px(p.x), x2: px(p.x), y1: py(p.low), y2: py(p.high) }));
    svg.append(s("circle", { class: `point ${colour(p.model)}`, cx: px(p.x), cy: py(p.y), r: 7 }));
  }
  const taken = [];
  const wide = (text) => text.length * 7;
  for (const p of list.slice().sort((a, b) => a.x - b.x)) {
    const text = p.model.length > 28 ? `${p.model.slice(0, 27)}…` : p.model;
    const leftward = px(p.x) + 14 + wide(text) > width;
    const start = leftward ? px(p.x) - 12 - wide(text) : px(p.x) + 12;
    let y = py(p.y) - 8;
    for (let n = 0; n < 8 && taken.some((t) => Math.abs(t.y - y) < 14 && t.x < start + wide(text) && start < t.x + t.w); n++) y += n % 2 ? -15 * (n + 1) : 15 * (n + 1);
    taken.push({ x: start, y, w: wide(text) });
    svg.append(s("text", { class: "name", x: leftward ? px(p.x) - 12 : start, y, "text-anchor": leftward ? "end" : "start" }, text));
  }
  place.replaceChildren(svg);
}

/** Round numbers on a log axis: as few as make four, or the most there are. */
function logTicks(low, high) {
  const within = (steps) => {
    const list = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high) + 0.2; e++) for (const m of steps) list.push(m * 10 ** e);
    return list.filter((t) => t >= low / 1.4 && t <= high * 1.4);
  };
  return [[1], [1, 3], [1, 2, 5]].map(within).find((list) => list.length > 3) || within([1, 2, 5]);
}

function drawQuality() {
  const list = data.figures.quality.filter((q) => known(q.x)).map((q) => ({ ...q, y: q.quality }));
  if (!list.length) return;
  const byCost = list[0].axis === "cost";
  const place = h("div", { class: "plot" });
  const front = list.filter((p) => p.front).map((p) => p.model);
  figure(byCost ? "Quality against cost" : "Quality against time",
    `${list[0].measure}, with its 95% interval. The line joins the models that none beats at the same ${byCost ? "price" : "speed"}: ${front.join(", ")}.${list[0].share ? " Dashed: half." : ""}`
    + (byCost ? "" : " These calls cost nothing, so the axis is time."), place);
  const draw = () => scatter(place, list, byCost ? "dollars per 1,000 rows" : "median time a call", byCost ? money : duration);
  draw();
  let last = place.clientWidth;
  new ResizeObserver(() => { if (place.clientWidth !== last) { last = place.clientWidth; draw(); } }).observe(place);
}

function drawOutcomes() {
  const list = data.figures.outcomes;
  if (!list.length) return;
  const part = (count, total, name, text) => count > 0 && h("span", { class: name, style: { flex: `${count} 0 0` }, title: `${text}: ${number(count)}` },
    count / total > 0.06 ? number(count) : "");
  figure("Verdicts, pair by pair", "Rows in which either was better, and ties. A row judged differently in the two orders is a tie.",
    h("div", { class: "pairs" }, list.map((o) => {
      const total = o.wins_a + o.ties + o.wins_b + o.unparsed;
      return h("div", { class: "outcome" },
        h("div", { class: "ends" }, h("span", {}, modelName(o.a)), h("span", {}, modelName(o.b))),
        h("div", { class: "stack", role: "img", "aria-label": `${o.a} better ${o.wins_a}, tie ${o.ties}, ${o.b} better ${o.wins_b}, unreadable ${o.unparsed}` },
          part(o.wins_a, total, colour(o.a), `${o.a} better`), part(o.ties, total, "tie", "tie"),
          part(o.unparsed, total, "none", "no readable verdict"), part(o.wins_b, total, colour(o.b), `${o.b} better`)));
    })), list.length > 4);
}

/** A table of model by model: `cell(row, column)` gives {share, text, small} or null. */
function matrix(models, cell, corner) {
  const tint = (share) => `color-mix(in srgb, var(${share >= 0.5 ? "--m2" : "--m1"}) ${Math.round(Math.abs(share - 0.5) * 90)}%, var(--card))`;
  return h("div", { class: "answers", tabindex: 0, role: "region", "aria-label": corner }, h("table", { class: "matrix" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, corner), models.map((m) => h("th", { scope: "col" }, modelName(m))))),
    h("tbody", {}, models.map((row) => h("tr", {}, h("th", { scope: "row" }, modelName(row)), models.map((column) => {
      const value = row === column ? null : cell(row, column);
      return value ? h("td", { style: { background: value.plain ? "" : tint(value.share) } }, value.text, value.small ? h("small", {}, value.small) : "")
        : h("td", { class: "self" }, row === column ? "·" : "–");
    }))))));
}

function drawWins() {
  const list = data.figures.wins;
  if (!list.length) return;
  figure("Win matrix", "How often the row's model beats the column's, ties half, with its 95% interval.",
    matrix(data.models, (row, column) => {
      const w = list.find((each) => each.model === row && each.against === column);
      return w && { share: w.rate, text: percent(w.rate), small: known(w.low) ? narrow(w) : "" };
    }, "Wins of"));
}

function drawScores() {
  const list = data.figures.scores;
  if (!list.length) return;
  const groups = [...new Set(list.map((each) => each.criterion))];
  figure("Scores", "How the judge's scores are spread over the rows, and their mean.", h("div", { class: "bars" }, groups.map((criterion) => {
    const some = list.filter((each) => each.criterion === criterion);
    const most = Math.max(1, ...some.flatMap((each) => each.counts));
    return [h("div", { class: "head", dir: "auto" }, criterion),
      some.map((each) => [h("span", {}, modelName(each.model)),
        h("div", { class: `hist ${colour(each.model)}`, role: "img", "aria-label": each.levels.map((l, i) => `${l}: ${each.counts[i]}`).join(", ") },
          each.counts.map((n, i) => h("i", { title: `${each.levels[i]}: ${plural(n, "row")}`, style: { height: `${n / most * 100}%` } }))),
        h("span", { class: "value" }, known(each.mean) ? `mean ${each.mean.toFixed(2)}` : "–", each.unread ? `, ${each.unread} unread` : "")]),
      h("span", {}), h("div", { class: "levels", "aria-hidden": true }, some[0].levels.map((l) => h("span", {}, l))), h("span", {})];
  })));
}

function drawLatency() {
  const list = data.figures.latency;
  if (!list.length) return;
  const most = Math.max(...list.map((l) => l.p95 ?? l.p50)) * 1.03;
  const at = (ms) => `${ms / most * 100}%`;
  figure("Latency", "Full dot: half of the calls are quicker. Ring: 95 in 100 are. Tick: the first token, at the median. The axis begins at 0.",
    h("div", { class: "bars" }, list.map((l) => [h("span", {}, modelName(l.model)),
      h("div", { class: `rail ${colour(l.model)}`, role: "img", "aria-label": `median ${duration(l.p50)}, 95th percentile ${duration(l.p95)}` },
        known(l.p95) ? h("i", { class: "range", style: { left: at(l.p50), width: at(l.p95 - l.p50) } }) : "",
        known(l.ttft) ? h("i", { class: "ttft", style: { left: at(l.ttft) } }) : "",
        h("i", { class: "p50", style: { left: at(l.p50) } }), known(l.p95) ? h("i", { class: "p95", style: { left: at(l.p95) } }) : ""),
      h("span", { class: "value" }, `${duration(l.p50)}${known(l.p95) ? ` · ${duration(l.p95)}` : ""}`)])));
}

const MEASURES = { exact: "equal answers", cohen_kappa: "Cohen's kappa", set_f1: "overlap of sets (F1)", token_overlap: "overlap of words", fleiss_kappa: "Fleiss' kappa" };
const kappa = (measure) => measure.endsWith("kappa");
const agreed = (each) => (kappa(each.measure) ? each.value.toFixed(2) : percent(each.value));

function drawAgreement() {
  const list = data.figures.agreement;
  if (!list.length) return;
  const body = h("div", {});
  const about = data.models.length > 2 ? "How alike two models answer." : "How alike the two models answer, field by field.";
  figure("Agreement between models", `${about} It says nothing about who is right.`, body);
  if (data.models.length === 2) {
    body.append(h("div", { class: "bars" }, list.filter((each) => each.a).map((each) => [
      h("span", {}, each.field || "whole answer", h("br"), h("small", { class: "soft" }, MEASURES[each.measure] || each.measure)),
      h("div", { class: "fill" }, h("i", { style: { width: `${Math.max(0, each.value) * 100}%` } })),
      h("span", { class: "value" }, agreed(each), h("small", { class: "soft" }, ` of ${number(each.n)}`))])));
    return;
  }
  const key = (each) => JSON.stringify([each.field, each.measure]);
  const keys = [...new Set(list.filter((each) => each.a).map(key))];
  const shown = h("div", {});
  const draw = (chosen) => {
    const some = list.filter((each) => key(each) === chosen);
    const overall = list.filter((each) => !each.a && each.field === JSON.parse(chosen)[0]);
    shown.replaceChildren(matrix(data.models, (row, column) => {
      const one = some.find((each) => (each.a === row && each.b === column) || (each.a === column && each.b === row));
      return one && { share: 0.5 + Math.max(0, one.value) / 2, text: agreed(one), small: `of ${number(one.n)}` };
    }, "Agreement"), ...overall.map((each) => h("p", { class: "soft small" }, `All models together: ${MEASURES[each.measure] || each.measure} ${agreed(each)}.`)));
  };
  const names = keys.map((k) => JSON.parse(k));
  const select = h("select", { "aria-label": "Field and measure", onchange: () => draw(select.value) },
    names.map(([field, measure], i) => h("option", { value: keys[i] }, `${field || "whole answer"}: ${MEASURES[measure] || measure}`)));
  if (keys.length > 1) body.append(h("p", { style: { marginBottom: "10px" } }, select));
  body.append(shown);
  draw(keys[0]);
}

function drawCharts() {
  for (const draw of [drawQuality, drawWins, drawOutcomes, drawLatency, drawScores, drawAgreement]) draw();
  if (!byId("charts").children.length) byId("charts").append(h("p", { class: "soft" }, "There is nothing to draw yet: no calls were timed and nothing was judged."));
}
