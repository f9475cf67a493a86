/* Blind labelling: a random sample of pairs, models hidden, sides shuffled; ends in human.csv. */

const labelling = { annotator: "", queue: [], at: 0, labels: new Map(), known: new Map() };
const drawn = data.rows.flatMap((row) => row.items.map((item) => ({ item, row }))).sort((x, y) => x.item.turn - y.item.turn);
const storeKey = () => `swath-labels:${data.id}:${labelling.annotator}`;

// Equal answers are ties without a question, as they are for the judge.
const equal = ({ item, row }) => JSON.stringify(row.answers[data.models.indexOf(item.a)]) === JSON.stringify(row.answers[data.models.indexOf(item.b)]);

function saved() {
  try { return new Map(JSON.parse(localStorage.getItem(storeKey())) || []); } catch { return new Map(); }
}

function save() {
  try { localStorage.setItem(storeKey(), JSON.stringify([...labelling.known, ...labelling.labels])); } catch { /* kept in the page alone */ }
}

function hideReport(hidden) {
  for (const part of [byId("report"), byId("foot"), document.querySelector(".top")]) part.hidden = hidden;
}

function startLabelling() {
  hideReport(true);
  const place = byId("labelling");
  place.hidden = false;
  const name = h("input", { type: "text", required: true, value: labelling.annotator || "", autocomplete: "off", maxlength: 60 });
  const count = h("input", { type: "number", min: 1, max: drawn.length, value: Math.min(30, drawn.length), required: true });
  place.replaceChildren(h("h2", {}, "Label blind"),
    h("p", {}, `A random sample of the ${plural(drawn.length, "pair")} of answers. You see the input and two answers, not whose they are; which one stands first is shuffled.`),
    h("p", { class: "soft" }, "Everyone is given the same pairs in the same order: how far two people agree tells how far a judge could. Stop when you like: what is labelled by then is a random sample, which is what lets it speak for the rest."),
    h("form", { onsubmit: (event) => { event.preventDefault(); begin(name.value.trim(), Number(count.value)); } },
      h("label", {}, "Your name", name), h("label", {}, "Pairs", count),
      h("button", { class: "button strong", type: "submit" }, "Begin"),
      h("button", { class: "button", type: "button", onclick: endLabelling }, "Back to the report")));
  scrollTo(0, 0);
  name.focus();
}

function endLabelling() {
  byId("labelling").hidden = true;
  hideReport(false);
  scrollTo(0, 0);
  byId("start-labels").focus();
}

function begin(annotator, count) {
  if (!annotator) return;
  const sides = random(annotator);
  const sample = drawn.slice(0, count).map((each) => ({ ...each, swap: sides() < 0.5 }));
  Object.assign(labelling, { annotator, queue: sample, at: 0, labels: new Map() });
  labelling.known = saved();
  advance(true);
}

/** On to the next pair without a label, in the sample's order: whoever stops early has labelled a
    random sample still. */
function advance(resuming) {
  const { queue, labels, known } = labelling;
  for (; labelling.at < queue.length; labelling.at++) {
    const { item } = queue[labelling.at];
    if (equal(queue[labelling.at])) labels.set(item.id, "tie");
    else if (resuming && known.has(item.id)) labels.set(item.id, known.get(item.id));
    else break;
  }
  save();
  drawLabel();
}

function choose(key) {
  const { item, swap } = labelling.queue[labelling.at];
  const label = key === "t" ? "tie" : (key === "1") === swap ? "B" : "A";
  labelling.labels.set(item.id, label);
  labelling.at++;
  advance(false);
}

function undo() {
  const at = before();
  if (at < 0) return;
  labelling.at = at;
  drawLabel();
}

/** The last pair before this one that was asked about; -1 where there is none. */
function before() {
  let at = labelling.at - 1;
  while (at >= 0 && equal(labelling.queue[at])) at--;
  return at;
}

function saveCsv() {
  const rows = [...labelling.labels].map(([id, label]) => [id, labelling.annotator, label]);
  download("human.csv", csv([["item_id", "annotator", "label"], ...rows]), "text/csv");
}

function drawLabel() {
  const place = byId("labelling");
  const { queue, at } = labelling;
  const done = labelling.labels.size;
  const head = h("div", {}, h("div", { class: "bar steps" }, h("h3", {}, at < queue.length ? `Pair ${number(at + 1)} of ${number(queue.length)}` : "Done"),
    h("button", { class: "button", type: "button", disabled: !done, onclick: saveCsv, id: "save-labels" }, `Download human.csv (${number(done)})`),
    h("button", { class: "button", type: "button", onclick: endLabelling }, "Back to the report")),
    h("div", { class: "progress", "aria-hidden": true }, h("i", { style: { width: `${queue.length ? at / queue.length * 100 : 100}%` } })));
  scrollTo(0, 0);
  if (at >= queue.length) {
    const same = queue.filter(equal).length;
    place.replaceChildren(head, h("p", {}, `${plural(done, "label")} by ${labelling.annotator}.`, same ? ` ${plural(same, "pair")} had equal answers: ties without a question.` : ""),
      h("p", { class: "soft" }, "Download human.csv, and give it to the comparison: ", h("code", {}, 'comparison.with_human("human.csv")'),
        ". Nothing is asked of a model again, and the next report says how far the judge agrees with you."),
      h("p", {}, h("button", { class: "quiet", type: "button", onclick: undo, disabled: before() < 0 }, "Change the last one")));
    byId("save-labels").focus();
    return;
  }
  const { item, row, swap } = queue[at];
  const pair = [item.a, item.b].map((m) => row.answers[data.models.indexOf(m)]);
  if (swap) pair.reverse();
  const button = (key, text) => h("button", { class: "button", type: "button", onclick: () => choose(key) }, h("kbd", {}, key), ` ${text}`);
  place.replaceChildren(head,
    data.instructions ? h("details", {}, h("summary", { class: "soft small" }, "What was asked"), h("p", { class: "asked", dir: "auto" }, data.instructions)) : "",
    inputs(row, ""),
    h("div", { class: "blind" }, pair.map((answer, i) => h("div", {}, h("h3", {}, `Answer ${i + 1}`), h("div", { class: "value" }, show(answer, ""))))),
    h("div", { class: "choose", role: "group", "aria-label": "Which answer is better?" }, button("1", "Answer 1 is better"), button("t", "Tie"), button("2", "Answer 2 is better"),
      h("button", { class: "quiet", type: "button", disabled: before() < 0, onclick: undo }, "Undo (u)")));
}

addEventListener("keydown", (event) => {
  if (byId("labelling").hidden || typing(event)) return;
  if (event.key === "u" || event.key === "Backspace") undo();
  else if (["1", "2", "t"].includes(event.key) && labelling.at < labelling.queue.length && document.querySelector(".choose")) choose(event.key);
});
