"use strict";
// Sorting and searching of tables. A page is whole without it.
(() => {
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const order = (cell) => (cell.dataset.order === undefined ? null : Number(cell.dataset.order));
  const text = (cell) => cell.textContent.trim();

  function compare(a, b) {
    const left = order(a);
    const right = order(b);
    if (left !== null && right !== null) return left - right;
    return words.compare(text(a), text(b));
  }

  function sort(table, header, column) {
    const down = header.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const known = (row) => row.cells[column].querySelector(".none") === null;
    const rows = [...body.rows];
    const sorted = rows.filter(known).sort((a, b) => {
      const way = compare(a.cells[column], b.cells[column]);
      return down ? -way : way;
    });
    body.append(...sorted, ...rows.filter((row) => !known(row)));
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  }

  function makeSortable(table) {
    table.classList.add("sorts");
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      header.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, header, column));
    });
  }

  function makeSearchable(table, rows) {
    const box = document.createElement("div");
    box.className = "find";
    box.innerHTML = '<label>Search this table<input type="search" autocomplete="off"></label><output></output>';
    const input = box.querySelector("input");
    const said = box.querySelector("output");
    const known = new Map(rows.map((row) => [row, [...row.cells].map(text).join(" ").toLowerCase()]));
    input.addEventListener("input", () => {
      const asked = input.value.trim().toLowerCase().split(/\s+/);
      let number = 0;
      for (const [row, content] of known) {
        row.hidden = !asked.every((word) => content.includes(word));
        number += row.hidden ? 0 : 1;
      }
      const all = rows.length.toLocaleString("en");
      said.textContent = input.value.trim() === "" ? ""
        : `${number.toLocaleString("en")} of ${all} rows have “${input.value.trim()}”`;
    });
    table.before(box);
  }

  for (const table of document.querySelectorAll("table[data-table]")) {
    const rows = [...table.tBodies[0].rows].filter((row) => !row.classList.contains("empty"));
    if (rows.length > 1) makeSortable(table);
    if (rows.length > 8) makeSearchable(table, rows);
  }
})();
