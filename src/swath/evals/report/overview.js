/* What was decided, whether the judge may be believed, and the table of models. */

function drawHead() {
  byId("kicker").textContent = `Swath comparison · ${data.at ? `${data.at} · ` : ""}${data.id}`;
  const models = data.models.map((m, i) => [i ? (i === data.models.length - 1 ? " and " : ", ") : "", modelName(m)]);
  byId("sub").append(
    `${plural(data.rows.length, "row")} answered by `, ...models.flat(),
    data.judge_cost ? ` · judging cost ${money(data.judge_cost)}` : "",
    data.instructions ? h("details", {}, h("summary", {}, "What they were asked"),
      h("p", { class: "asked", dir: "auto" }, data.instructions)) : "",
  );
  byId("foot").append(
    h("p", {}, "Made by Swath ", data.version, ". This file holds everything it shows and asks nothing of any server. ",
      "Intervals are 95%, and rows, not calls, are what is counted: two orders of one pair are one piece of evidence."),
    data.settings.length ? h("p", {}, "Settings: ", data.settings.map(([k, v]) => `${k} ${v}`).join(" · ")) : "",
  );
}

function scale(d) {
  if (!d.win_rate) return null;
  const ahead = d.winner || (d.win_rate.estimate === 0.5 ? null : d.win_rate.estimate > 0.5 ? d.b : d.a);
  const within = (share) => Math.min(1, Math.max(0, share)); // a corrected rate's interval may reach beyond
  const left = (share) => `${within(share) * 100}%`;
  const label = `${d.b} beats ${d.a} in ${percent(d.win_rate.estimate)} of rows, ${interval(d.win_rate)}`;
  return h("div", { class: `scale ${ahead ? colour(ahead) : ""}` },
    h("div", { class: "ends" }, h("span", {}, modelName(d.a)), h("span", {}, modelName(d.b))),
    h("div", { class: "track", role: "img", "aria-label": label },
      h("span", { class: "half" }),
      h("span", { class: "span", style: { left: left(d.win_rate.low), width: left(within(d.win_rate.high) - within(d.win_rate.low)) } }),
      h("span", { class: "dot", style: { left: left(d.win_rate.estimate) } })),
    h("p", { class: "tally" }, h("span", {}, `${d.b} wins ${percent(d.win_rate.estimate)} of rows (${interval(d.win_rate)}), ties half.`), " ",
      h("span", {}, `Verdicts: ${d.a} ${number(d.wins_a)} · tie ${number(d.ties)} · ${d.b} ${number(d.wins_b)}`,
        d.unparsed ? ` · not readable ${number(d.unparsed)}` : "", ".")));
}

const METHODS = { judge: "Judge alone", labels: "Your labels alone", ppi: "Both (prediction-powered)" };

function methods(d) {
  const lines = data.calibration.filter((c) => c.model_a === d.a && c.model_b === d.b);
  if (!lines.length || (lines.length === 1 && lines[0].method === "judge")) return null;
  return h("table", { class: "methods" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, `How often ${d.b} wins`), h("th", { scope: "col" }, "share"),
      h("th", { scope: "col" }, "95% interval"), h("th", { scope: "col" }, "rows"))),
    h("tbody", {}, lines.map((c) => h("tr", {}, h("th", { scope: "row" }, METHODS[c.method] || c.method),
      h("td", {}, percent(c.estimate)), h("td", {}, known(c.low) ? interval(c) : "–"), h("td", {}, number(c.n))))));
}

function drawDecisions() {
  const place = byId("decisions");
  if (!data.decisions.length) {
    const differ = data.rows.filter((r) => r.differs.length).length;
    place.append(h("p", { class: "said" }, data.models.length > 1
      ? `The answers differ in ${number(differ)} of ${plural(data.rows.length, "row")}.` : `${plural(data.rows.length, "row")}.`),
      h("p", { class: "soft" }, data.verdicts
        ? "There are too few verdicts to decide between these models."
        : "No judge was asked and there are no labels, so nothing here says which answer is better. Read the rows below, or compare again with a judge: the answers are stored, and are not paid for twice."));
  }
  const [first, ...others] = data.decisions.slice().sort((x, y) => Boolean(y.winner) - Boolean(x.winner));
  const said = (d, name) => h("div", { class: name }, h("p", { class: "said", dir: "auto" }, d.sentence), scale(d),
    name === "decision" || !methods(d) ? methods(d) : h("details", { class: "small" }, h("summary", { class: "soft" }, "By the judge, by labels, by both"), methods(d)));
  if (first && data.trust?.usable === false) place.append(h("p", { class: "doubt" }, "By a judge that may not be used here:"));
  if (first) place.append(said(first, "decision"));
  const more = byId("more");
  more.append(...others.slice(0, 2).map((d) => said(d, "decision minor")));
  if (others.length > 2) more.append(h("details", {}, h("summary", {}, plural(others.length - 2, "more pair")),
    others.slice(2).map((d) => said(d, "decision minor"))));
  const notes = h("ul", { class: "notes" }, data.notes.map((n) => h("li", { dir: "auto" }, n)));
  if (data.notes.length > 3) more.append(h("details", { class: "small" }, h("summary", {}, plural(data.notes.length, "note")), notes));
  else if (data.notes.length) more.append(notes);
}

function facts(trust) {
  const line = (name, value, under) => [h("dt", {}, name), h("dd", {}, value, under ? h("small", {}, under) : "")];
  const own = trust.self_preference;
  return h("dl", { class: "facts" },
    line("Same verdict in both orders", percent(trust.order_agreement)),
    line("Picks the answer shown first", percent(trust.first_rate), "50% would be fair"),
    known(trust.human_agreement) ? line("Agrees with your labels", percent(trust.human_agreement),
      known(trust.human_kappa) ? `kappa ${trust.human_kappa.toFixed(2)}` : "") : line("Agrees with your labels", "no labels"),
    known(trust.human_human_agreement) ? line("Your labellers agree with each other", percent(trust.human_human_agreement)) : "",
    own ? line("Favours its own answers", `${points(own.estimate)} points`,
      `${points(own.low)} to ${points(own.high)}, against your labels`)
      : trust.contestant ? line("Favours its own answers", "not measured", "it is also a contestant") : "",
    line("Verdicts that could not be read", number(trust.unparsed), `of ${number(trust.n)} pairs`));
}

function drawTrust() {
  const place = byId("trust");
  const trust = data.trust;
  if (!trust) {
    place.append(h("h2", {}, "No judge"), h("p", { class: "soft" }, data.labels
      ? "The decision rests on your labels alone." : "Nothing was judged, so there is no judge to trust or doubt."));
  } else {
    const word = trust.usable === true ? ["yes", "may be used here"] : trust.usable === false
      ? ["no", "may not be used here"] : ["open", "cannot be vouched for yet"];
    place.append(h("h2", {}, "Can the judge be trusted?"),
      h("p", { class: `may ${word[0]}` }, h("span", {}, h("span", { dir: "auto" }, trust.judge), " ", word[1])),
      h("p", { class: "soft small" }, trust.sentence), facts(trust));
    const others = data.judges.filter((each) => each.judge !== trust.judge);
    place.append(...others.map((each) => h("details", { class: "small" }, h("summary", {}, `${each.judge} alone`),
      h("p", { class: "soft" }, each.sentence), facts(each))));
  }
  if (data.items) place.append(h("p", { class: "label-start", style: { marginTop: "14px" } },
    h("button", { class: "button", type: "button", id: "start-labels", onclick: () => startLabelling() }, "Label blind"),
    h("span", { class: "small" }, trust ? "A few labels of yours tell what the judge is worth." : "Say which answer is better, without knowing whose it is.")));
}

function drawModels() {
  const quality = new Map(data.figures.quality.map((q) => [q.model, q]));
  const any = (name) => data.by_model.some((m) => known(m[name]));
  const least = (of) => Math.min(...data.by_model.map(of).filter(known));
  const differ = (of) => new Set(data.by_model.map(of)).size > 1;
  const cheapest = least((m) => m.cost_per_row_usd), quickest = least((m) => m.latency_p50_ms);
  const best = Math.max(...[...quality.values()].map((q) => q.quality));
  const even = [...quality.values()].every((q) => q.quality === best);
  const columns = [
    quality.size && [data.figures.quality[0].measure, (m) => {
      const q = quality.get(m.model);
      if (!q) return "–";
      return [q.share ? percent(q.quality) : q.quality.toFixed(2),
        known(q.low) ? h("small", {}, q.share ? interval(q) : `${q.low.toFixed(2)} to ${q.high.toFixed(2)}`) : ""];
    }, (m) => !even && quality.get(m.model)?.quality === best],
    ["Answered", (m) => [number(m.ok), " of ", number(m.rows), m.failed ? h("small", { class: "some-failed" }, `${number(m.failed)} failed`) : ""]],
    any("schema_valid") && ["Valid at once", (m) => percent(m.schema_valid)],
    ["$ per 1,000 rows", (m) => money(known(m.cost_per_row_usd) ? m.cost_per_row_usd * 1000 : null), (m) => differ((each) => each.cost_per_row_usd) && m.cost_per_row_usd === cheapest],
    ["This sample", (m) => [money(m.cost_usd), h("small", {}, `${plural(m.calls, "call")}${m.cached ? `, ${number(m.cached)} stored` : ""}`)]],
    any("latency_p50_ms") && ["Latency, median", (m) => duration(m.latency_p50_ms), (m) => differ((each) => each.latency_p50_ms) && m.latency_p50_ms === quickest],
    any("latency_p95_ms") && ["95th percentile", (m) => duration(m.latency_p95_ms)],
    any("ttft_p50_ms") && ["First token", (m) => duration(m.ttft_p50_ms)],
    ["Tokens in", (m) => number(m.input_tokens)], ["Tokens out", (m) => number(m.output_tokens)],
  ].filter(Boolean);
  byId("models").append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of models" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Model"), columns.map(([name]) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, data.by_model.map((m) => h("tr", {}, h("th", { scope: "row" }, modelName(m.model)),
      columns.map(([, cell, leads]) => h("td", { class: leads && leads(m) ? "best" : null }, cell(m)))))))));
}
