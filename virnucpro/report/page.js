"use strict";
const table = document.querySelector("#hits table");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows], form = document.querySelector("#filter");
  const shown = document.querySelector("#shown");
  const value = (row, column) => row.cells[column].dataset.value;

  const sort = (head) => {
    const number = head.dataset.sort === "number", column = head.cellIndex;
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : number;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => number ? a - b : a < b ? -1 : a > b ? 1 : 0;
    rows.sort((a, b) => (down ? -1 : 1) * order(value(a, column), value(b, column)));
    body.append(...rows);
  };
  const filter = () => {
    const name = form.name_part.value.toLowerCase();
    const score = Number(form.minimum_score.value), length = Number(form.minimum_length.value);
    let number = 0;
    for (const row of rows) {
      const [id, nt, virus] = [0, 1, 2].map((column) => value(row, column));
      row.hidden = !(id.toLowerCase().includes(name) && nt >= length && virus >= score);
      number += !row.hidden;
    }
    shown.textContent = `${number} of ${rows.length} rows shown`;
  };
  for (const head of table.tHead.querySelectorAll("th[data-sort]"))
    head.querySelector("button").addEventListener("click", () => sort(head));
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();
}
