// Tables sort by a click on a column's head and are downloaded as CSV; folded sections
// open in print. The page reads the same without scripts.
"use strict";
function key(cell) {
  const number = parseFloat(cell.textContent.replace(/[,\s]/g, ""));
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
function csv(table) {
  const quoted = (cell) => '"' + cell.textContent.trim().replaceAll('"', '""') + '"';
  return [...table.rows].map((row) => [...row.cells].map(quoted).join(",")).join("\r\n");
}
for (const table of document.querySelectorAll("table")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.tabIndex = 0;
    head.addEventListener("click", () => sortBy(table, column, head));
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sortBy(table, column, head);
    });
  });
  const link = document.createElement("a");
  link.className = "download";
  link.textContent = "CSV";
  link.download = "table.csv";
  link.href = "data:text/csv;charset=utf-8," + encodeURIComponent(csv(table));
  table.parentElement.after(link);
}
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
