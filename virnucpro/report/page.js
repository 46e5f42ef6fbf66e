"use strict";
// The table of hits: pages, search, sort, export, copies; and the values of tracks.
const SIZE = 25; // hits on a page
document.body.classList.add("scripts");
const make = (tag, properties, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const download = (name, blob) => {
  const link = make("a", {href: URL.createObjectURL(blob), download: `${document.body.dataset.name}_${name}`});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
const copy = async (text) => {
  const area = make("textarea", {value: text});
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy"); // frames allow this more often than navigator.clipboard
  area.remove();
  return done || navigator.clipboard.writeText(text).then(() => true, () => false);
};

const table = document.querySelector("#hits table");
if (table) {
  const form = document.querySelector("#filter"), pager = document.querySelector("#pager"), shown = document.querySelector("#shown");
  const heads = [...table.tHead.rows[0].cells].filter((head) => head.dataset.column);
  const isNumber = (head) => head.dataset.sort === "number";
  const shownName = (row) => row.cells[0].querySelector("bdi").title || row.cells[0].textContent.trim();
  const value = (row, head) => {
    if (!head.cellIndex) return shownName(row);
    const text = row.cells[head.cellIndex].textContent.trim();
    return isNumber(head) ? text === "NA" ? null : Number(text.replaceAll(",", "")) : text;
  };
  let rows = [...table.tBodies].flatMap((body) => [...body.rows]).map((row) =>
    ({row, values: Object.fromEntries(heads.map((head) => [head.dataset.column, value(row, head)]))}));
  window.hits = rows.map((one) => one.values); // for the figures
  let chosen = rows, page = 0;

  const copier = (words, title, text) => {
    const button = make("button", {type: "button", textContent: words, title, ariaLabel: title});
    button.addEventListener("click", async () => {
      button.textContent = await copy(text()) ? "copied" : "not allowed here";
      setTimeout(() => { button.textContent = words; }, 1500);
    });
    return button;
  };
  const withCopiers = (row) => {
    if (row.querySelector(".copy")) return;
    const cell = make("span", {className: "copy"}, copier("copy name", "Copy the name", () => shownName(row)));
    if (row.dataset.fasta) cell.append(copier("copy sequence", "Copy the sequence as FASTA", () => row.dataset.fasta));
    row.cells[0].append(cell);
  };
  const render = () => {
    const last = Math.max(Math.ceil(chosen.length / SIZE) - 1, 0);
    page = Math.min(Math.max(page, 0), last);
    const visible = chosen.slice(page * SIZE, (page + 1) * SIZE).map((one) => one.row);
    visible.forEach(withCopiers);
    table.tBodies[0].replaceChildren(...visible);
    const all = chosen.length === rows.length ? `${rows.length}` : `${chosen.length} of ${rows.length}`;
    shown.textContent = chosen.length
      ? `${page * SIZE + 1} to ${page * SIZE + visible.length} of ${all} hit${rows.length === 1 ? "" : "s"}`
      : `no hit of ${rows.length} fits`;
    const [first, back, place, next, end] = pager.children;
    place.textContent = `page ${page + 1} of ${last + 1}`;
    first.disabled = back.disabled = page === 0;
    next.disabled = end.disabled = page === last;
    pager.hidden = last === 0;
  };
  const filter = () => {
    const words = form.words.value.toLowerCase().trim();
    const limit = (name, none) => form[name]?.value ? Number(form[name].value) : none;
    const [length, score, fdr] = [limit("minimum_length", 0), limit("minimum_score", 0), limit("maximum_fdr", Infinity)];
    const texts = heads.filter((head) => !isNumber(head)).map((head) => head.dataset.column);
    chosen = rows.filter(({values}) => texts.some((name) => values[name].toLowerCase().includes(words))
      && values.length >= length && values.virus_score >= score && (values.fdr ?? 0) <= fdr);
    page = 0;
    render();
  };
  const sort = (head) => {
    const before = head.getAttribute("aria-sort"), name = head.dataset.column;
    const down = before ? before === "ascending" : isNumber(head);
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => a === null || b === null ? (a === null) - (b === null) // NA comes last
      : (down ? -1 : 1) * (a < b ? -1 : a > b ? 1 : 0);
    rows = rows.toSorted?.((a, b) => order(a.values[name], b.values[name]))
      ?? [...rows].sort((a, b) => order(a.values[name], b.values[name]));
    filter();
  };
  // A spreadsheet would run a text that begins like a formula.
  const cell = (text) => /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  const quoted = (text) => /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const csv = () => {
    const line = (cells) => `${cells.map(quoted).join(",")}\n`;
    const body = chosen.map(({row, values}) => line(heads.map((head) => isNumber(head)
      ? row.cells[head.cellIndex].textContent.trim().replaceAll(",", "") : cell(values[head.dataset.column]))));
    return line(heads.map((head) => head.dataset.column)) + body.join("");
  };
  for (const head of heads) head.querySelector("button").addEventListener("click", () => sort(head));
  [-Infinity, -1, null, 1, Infinity].forEach((step, place) =>
    pager.children[place].addEventListener("click", () => { page += step; render(); }));
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  document.querySelector("#csv").addEventListener("click", () => download("hits.csv", new Blob([csv()], {type: "text/csv"})));
  form.hidden = false;
  filter();
}

const tip = make("output", {id: "tip", hidden: true});
tip.setAttribute("aria-live", "off");
document.body.append(tip);
const show = (event) => {
  const track = event.target.closest?.(".track");
  tip.hidden = !track;
  if (!track) return;
  const {scores, length} = track.dataset, bins = scores.length / 2;
  const box = track.querySelector("svg").getBoundingClientRect();
  const bin = Math.min(Math.max(Math.floor((event.clientX - box.left) / box.width * bins), 0), bins - 1);
  const score = scores.slice(2 * bin, 2 * bin + 2);
  const [from, to] = [bin, bin + 1].map((edge) => Math.round(edge * length / bins));
  tip.textContent = `${(from + 1).toLocaleString("en-US")}–${to.toLocaleString("en-US")} nt: ${score === "--" ? "no score" : `score 0.${score}`}`;
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${event.clientY + 16}px`;
};
for (const kind of ["pointermove", "pointerdown"]) document.addEventListener(kind, show); // a touch moves nothing
