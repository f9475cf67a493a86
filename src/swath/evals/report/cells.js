/* How a cell is shown: text folded when long, structs by field, what differs marked. */

const LONG = 900; // characters; more are folded

function foldable(node, length) {
  if (length <= LONG) return node;
  node.classList.add("folded");
  const more = h("button", { class: "quiet small more", type: "button", "aria-expanded": "false", onclick: () => {
    const folded = node.classList.toggle("folded");
    more.textContent = folded ? `Show all ${number(length)} characters` : "Fold";
    more.setAttribute("aria-expanded", String(!folded));
  } }, `Show all ${number(length)} characters`);
  return h("div", {}, node, more);
}

const textNode = (text, find) => foldable(h("div", { class: "text", dir: "auto" }, found(text, find)), text.length);

/** Any value: text, numbers, lists as lines, structs as name and value. */
function show(value, find) {
  if (value === null) return h("span", { class: "null" }, "null");
  if (Array.isArray(value)) {
    return value.length ? h("ul", {}, value.map((each) => h("li", {}, show(each, find)))) : h("span", { class: "null" }, "empty list");
  }
  if (typeof value === "object") return h("div", {}, Object.entries(value).map(([name, each]) =>
    h("div", { class: "pair" }, h("b", {}, name), typeof each === "object" && each !== null ? show(each, find) : short(each, find))));
  return value === "" ? h("span", { class: "null" }, "empty") : textNode(String(value), find);
}

const short = (value, find) => (value === null ? h("span", { class: "null" }, "null") : h("span", { dir: "auto" }, found(String(value), find)));

const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]+/gu) || [];

/** Which words of `b` are not in `a`, in order: by longest common subsequence. Null where the two
    are too long, or have too little in common for marks to help. */
function fresh(a, b) {
  const left = words(a), right = words(b);
  if (left.length * right.length > 400000) return null;
  const wide = right.length + 1;
  const best = new Uint16Array((left.length + 1) * wide);
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      best[i * wide + j] = left[i] === right[j] ? best[(i + 1) * wide + j + 1] + 1
        : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
  if (best[0] < 0.5 * Math.max(left.length, right.length)) return null;
  const parts = [];
  for (let i = 0, j = 0; j < right.length;) {
    if (i < left.length && left[i] === right[j]) { parts.push([right[j], false]); i++; j++; }
    else if (i < left.length && best[(i + 1) * wide + j] >= best[i * wide + j + 1]) i++;
    else parts.push([right[j++], true]);
  }
  return parts;
}

/** `text` with the words marked that `other` lacks; as it is where it can't be told. */
function marked(text, other, find) {
  const parts = find ? null : fresh(other, text);
  if (!parts) return textNode(text, find);
  // A space between two new words is marked with them, so that a phrase is one mark.
  const isNew = parts.map(([word, fresh], i) => (word.trim() ? fresh : Boolean(parts[i - 1]?.[1] && parts[i + 1]?.[1])));
  const runs = [];
  parts.forEach(([word], i) => {
    if (i && isNew[i] === isNew[i - 1]) runs[runs.length - 1].text += word;
    else runs.push({ text: word, marked: isNew[i] });
  });
  return foldable(h("div", { class: "text", dir: "auto" }, runs.map((run) => (run.marked ? h("mark", {}, run.text) : run.text))), text.length);
}

function answerCell(row, index, value, against, find) {
  if (row.errors[index]) return h("span", { class: "failed" }, `Failed: ${row.errors[index]}`);
  if (value === null) return h("span", { class: "null" }, "no answer");
  if (typeof value === "string" && value && typeof against === "string" && against !== value) return marked(value, against, find);
  return show(value, find);
}

/** The answers of one row beside each other: a line a field for structs, one cell each for others. */
function answers(row, find) {
  const structs = row.answers.some(isStruct);
  const names = structs ? data.fields : [""];
  const grid = h("div", { class: "grid" });
  grid.style.gridTemplateColumns = `${structs ? "minmax(96px, 150px) " : ""}repeat(${data.models.length}, minmax(190px, 1fr))`;
  if (structs) grid.append(h("div", { class: "h corner" }));
  data.models.forEach((model) => grid.append(h("div", { class: "h" }, modelName(model))));
  for (const name of names) {
    const differs = row.differs.includes(name);
    if (structs) grid.append(h("div", { class: differs ? "key differs" : "key" }, name));
    const cells = row.answers.map((answer) => (structs ? (isStruct(answer) ? answer[name] ?? null : answer) : answer));
    // Of two, each is held against the other; of more, against the first.
    const against = (i) => (!differs ? null : cells.length === 2 ? cells[1 - i] : i ? cells[0] : null);
    cells.forEach((value, i) => {
      const missing = structs && !isStruct(row.answers[i]);
      const cell = missing && name !== names[0] ? (row.errors[i] ? "" : h("span", { class: "null" }, "no answer"))
        : missing ? answerCell(row, i, null, null, find)
          : structs && value === null ? h("span", { class: "null" }, "null")
            : structs ? answerCell({ errors: [] }, i, value, against(i), find)
              : answerCell(row, i, value, against(i), find);
      grid.append(h("div", { class: `value ${colour(data.models[i])}${differs ? " differs" : ""}`, "data-model": data.models[i] }, cell));
    });
  }
  const table = h("div", { class: "answers", tabindex: 0, role: "region", "aria-label": "Answers side by side" }, grid);
  if (!grid.querySelector("mark:not(.find)")) return table;
  const whose = data.models.length === 2 ? "the other answer" : `${data.models[0]}'s answer`;
  return [table, h("p", { class: "soft small" }, "Marked: words that ", whose, " does not have there.")];
}

function inputs(row, find) {
  const names = Object.keys(row.input);
  return h("div", { class: "given" }, names.map((name) => h("div", { class: "field" },
    names.length > 1 ? h("div", { class: "key" }, name) : "", h("div", { class: "value" }, show(row.input[name], find)))));
}
