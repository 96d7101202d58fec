"use strict";

const get = (id) => document.getElementById(id);
let attention = [];

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function addOptions(select, values) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
}

/* Return a tree as nested lists: screen readers announce their depth. */
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
  get("nbest").replaceChildren(...answers.map((answer, index) => {
    const row = element("tr");
    const cells = [index + 1, answer.text, answer.score.toFixed(4), answer.logprob.toFixed(4)];
    row.append(...cells.map((cell) => element("td", cell)));
    return row;
  }));
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
  try {
    const headers = { "Content-Type": "application/json" };
    const response = await fetch("explain", { method: "POST", headers, body: JSON.stringify(fields) });
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    showAnswers(found.result, found.warnings);
    showAttention(found.attention);
    get("results").hidden = false;
    get("status").textContent = `${found.result.answers.length} answers.`;
  } catch (error) {
    get("results").hidden = true;
    get("status").textContent = `Error: ${error.message}`;
  }
}

async function begin() {
  const [models, settings] = await Promise.all(["models", "frontend/settings"].map(async (path) => (await fetch(path)).json()));
  addOptions(get("model"), models.map((model) => {
    const languages = model.source ? ` ${model.source}-${model.target}` : "";
    return [model.name, `${model.name} (${model.action}${languages})`];
  }));
  get("key-field").hidden = !settings.keyRequired;
  const wanted = new URLSearchParams(location.search);
  if (wanted.has("model")) get("model").value = wanted.get("model");
  if (wanted.has("q")) {
    get("text").value = wanted.get("q");
    await answer();
  }
}

get("form").addEventListener("submit", (event) => { event.preventDefault(); answer(); });
get("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) get("form").requestSubmit();
});
get("layer").addEventListener("change", showHeads);
get("head").addEventListener("change", showWeights);
begin();
