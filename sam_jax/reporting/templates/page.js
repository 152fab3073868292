// Tables sort by a click on a column's head; folded sections open in print. The page
// reads the same without scripts.
"use strict";
function key(cell) {
  const number = parseFloat(cell.textContent.replace(/[,\s<>]/g, ""));
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}
function sortBy(table, column, head) {
  const body = table.tBodies[0];
  const down = head.getAttribute("aria-sort") !== "descending";
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a.cells[column]), key(b.cells[column])];
    const order = typeof x === typeof y ? (x > y) - (x < y) : typeof x === "number" ? 1 : -1;
    return down ? -order : order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(table, column, head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sortBy(table, column, head);
    });
  });
}
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
