"use strict";

const get = (id) => document.getElementById(id);
const outcomes = { kept: "kept", finished: "finished", pruned: "dropped" };
let attention = [];
let searches = [];
let models = [];

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function addOptions(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}

/* Return a tree as nested lists, because screen readers announce the depth of a list. */
function treeList(part) {
  const item = element("li");
  item.append(element("span", part.label ?? part.tag));
  if (part.word !== undefined) {
    item.append(" ", element("b", part.word));
  } else {
    const list = element("ul");
    list.append(...part.children.map(treeList));
    item.append(list);
  }
  return item;
}

function showAnswers(result, warnings) {
  const answers = result.answers;
  get("best").textContent = answers.length ? answers[0].text : "There is no answer.";
  const tree = answers[0]?.tree;
  get("tree").hidden = !tree;
  get("best").hidden = Boolean(tree);
  if (tree) {
    const list = element("ul");
    list.append(treeList(tree));
    get("tree").replaceChildren(list);
  }
  get("warnings").textContent = (warnings ?? []).join("; ");
  get("all").hidden = !answers.length;
  get("nbest").replaceChildren(...answers.map((answer, index) => {
    const row = element("tr");
    const cells = [index + 1, answer.text, answer.score.toFixed(4), answer.logprob.toFixed(4)];
    row.append(...cells.map((cell) => element("td", cell)));
    return row;
  }));
}

/* Return the symbols of a hypothesis, from the first step to its own. */
function symbolsOf(steps, step, index) {
  const symbols = [];
  for (; step >= 0 && index !== undefined; step -= 1) {
    const hypothesis = steps[step][index];
    symbols.unshift(hypothesis.token);
    index = hypothesis.parent;
  }
  return symbols;
}

/* Show the hypotheses of the chosen step. */
function showStep() {
  const steps = searches[get("run").value].steps;
  const number = Number(get("step").value);
  const step = steps[number - 1];
  const rows = step.map((hypothesis, index) => {
    const row = element("tr");
    row.className = hypothesis.outcome;
    if (hypothesis.best) row.classList.add("best");
    const before = symbolsOf(steps, number - 1, index).slice(0, -1).join(" ");
    const text = element("td", before ? `${before} ` : "");
    text.className = "text";
    text.append(element("b", hypothesis.token));
    const rank = element("th", index + 1);
    rank.scope = "row";
    const outcome = outcomes[hypothesis.outcome] + (hypothesis.best ? ", in the best answer" : "");
    const numbers = [hypothesis.score, hypothesis.logprob].map((value) => element("td", value.toFixed(4)));
    numbers.forEach((cell) => { cell.className = "number"; });
    const parent = hypothesis.parent === undefined ? "" : hypothesis.parent + 1;
    row.append(rank, text, element("td", outcome), ...numbers, element("td", parent));
    return row;
  });
  get("beam").tBodies[0].replaceChildren(...rows);
  const counts = Object.keys(outcomes)
    .map((outcome) => [step.filter((each) => each.outcome === outcome).length, outcomes[outcome]])
    .filter(([total]) => total).map(([total, name]) => `${total} ${name}`).join(", ");
  get("step-text").textContent = `Step ${number} of ${steps.length}: ${counts}.`;
  get("step").setAttribute("aria-valuetext", `${number} of ${steps.length}`);
  get("previous").setAttribute("aria-disabled", number === 1);
  get("next").setAttribute("aria-disabled", number === steps.length);
}

function moveStep(by) {
  get("step").value = Number(get("step").value) + by;
  showStep();
}

function showSearch() {
  get("step").max = searches[get("run").value].steps.length;
  get("step").value = 1;
  showStep();
}

function showSearches(found) {
  searches = found;
  get("search").hidden = !searches.length;
  if (!searches.length) return;
  const hasParts = searches.some((each) => each.part > 1);
  const name = (each) => (hasParts ? `part ${each.part}: ` : "") + (each.search > 1 ? `repetition ${each.search - 1} with a larger beam` : "first search");
  addOptions(get("run"), searches.map((each, index) => [index, name(each)]));
  get("run-field").hidden = searches.length === 1;
  showSearch();
}

function showHeads() {
  const map = attention[get("layer").value];
  const heads = map.weights.map((_, index) => [index, `${index + 1}`]);
  addOptions(get("head"), [["mean", "mean of all"], ...heads]);
  showWeights();
}

/* Show the weights of a head in percent. */
function showWeights() {
  const map = attention[get("layer").value];
  const head = get("head").value;
  const count = map.weights.length;
  const weight = (row, column) => head === "mean"
    ? map.weights.reduce((sum, each) => sum + each[row][column], 0) / count
    : map.weights[head][row][column];
  const table = get("weights");
  get("legend").textContent = `Weights in percent. Rows: ${map.queries} tokens. Columns: ${map.keys} tokens.`;
  const top = element("tr");
  top.append(element("td"), ...map.key_symbols.map((symbol) => {
    const cell = element("th", symbol);
    cell.scope = "col";
    return cell;
  }));
  table.tHead.replaceChildren(top);
  table.tBodies[0].replaceChildren(...map.query_symbols.map((symbol, row) => {
    const line = element("tr");
    const name = element("th", symbol);
    name.scope = "row";
    line.append(name, ...map.key_symbols.map((_, column) => {
      const percent = Math.round(100 * weight(row, column));
      const cell = element("td", percent);
      cell.style.setProperty("--weight", percent);
      return cell;
    }));
    return line;
  }));
}

function showAttention(maps) {
  attention = maps;
  get("attention").hidden = !maps.length;
  if (maps.length) {
    addOptions(get("layer"), maps.map((map, index) => [index, map.name]));
    const cross = maps.findLastIndex((map) => map.queries !== map.keys);
    get("layer").value = Math.max(cross, 0);
    showHeads();
  }
}

async function answer() {
  get("status").textContent = "Computing ...";
  const fields = { q: get("text").value, nbest: Number(get("number").value), model: get("model").value };
  if (get("key").value) fields.api_key = get("key").value;
  if (!get("constraints").hidden) {
    const phrases = (id) => get(id).value.split("\n").map((line) => line.trim()).filter(Boolean);
    Object.assign(fields, { prefix: get("prefix").value, require: phrases("require"), forbid: phrases("forbid") });
  }
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("explain", { method: "POST", headers, body: JSON.stringify(fields) });
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    showAnswers(found.result, found.warnings);
    showSearches(found.searches);
    showAttention(found.attention);
    get("results").hidden = false;
    const tree = get("tree"); /* scroll to the root, which is in the middle */
    tree.scrollLeft = (tree.scrollWidth - tree.clientWidth) / 2;
    const number = found.result.answers.length;
    const reasons = number ? [] : found.warnings ?? []; /* in the status, so that screen readers announce them */
    get("status").textContent = [number === 1 ? "1 answer." : `${number} answers.`, ...reasons].join(" ");
  } catch (error) {
    get("results").hidden = true;
    get("status").textContent = `Error: ${error.message}`;
  }
}

/* Show the constraints that the chosen model accepts. */
function showConstraints() {
  const model = models.find((each) => each.name === get("model").value);
  get("constraints").hidden = !model?.constraints;
  const isText = model?.action === "translate" || model?.action === "answer";
  get("constraints-hint").textContent = isText
    ? "Write words or phrases of the answer."
    : "Write symbols of the model, separated by spaces, such as the symbols of the hypotheses below.";
}

async function begin() {
  const [found, settings] = await Promise.all(["models", "frontend/settings"].map(async (path) => (await fetch(path)).json()));
  models = found;
  addOptions(get("model"), models.map((model) => {
    const languages = model.source ? ` ${model.source}-${model.target}` : "";
    return [model.name, `${model.name} (${model.action}${languages})`];
  }));
  get("key-field").hidden = !settings.keyRequired;
  const wanted = new URLSearchParams(location.search);
  if (wanted.has("model")) get("model").value = wanted.get("model");
  showConstraints();
  get("prefix").value = wanted.get("prefix") ?? "";
  for (const id of ["require", "forbid"]) get(id).value = wanted.getAll(id).join("\n");
  get("constraints").open = ["prefix", "require", "forbid"].some((id) => wanted.has(id));
  if (wanted.has("q")) {
    get("text").value = wanted.get("q");
    await answer();
  }
}

get("form").addEventListener("submit", (event) => { event.preventDefault(); answer(); });
get("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) get("form").requestSubmit();
});
get("model").addEventListener("change", showConstraints);
get("run").addEventListener("change", showSearch);
get("step").addEventListener("input", showStep);
get("previous").addEventListener("click", () => moveStep(-1));
get("next").addEventListener("click", () => moveStep(1));
get("layer").addEventListener("change", showHeads);
get("head").addEventListener("change", showWeights);
begin();
