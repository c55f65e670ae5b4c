"use strict";
const table = document.getElementById("jobs"), body = table.tBodies[0];
const rows = [...body.rows];

function value(row, column, kind) {
  const cell = row.cells[column];
  if (kind === "number") return cell.dataset.value === undefined ? NaN : +cell.dataset.value;
  return cell.textContent.trim();
}

function compared(a, b, kind, sign) {
  if (kind === "text") return sign * a.localeCompare(b, "en", { numeric: true });
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
  return sign * (a - b);
}

for (const button of table.tHead.querySelectorAll("button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex, kind = button.dataset.kind;
    const first = kind === "number" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compared(value(a, column, kind), value(b, column, kind), kind, sign));
    body.append(...rows);
  });
}

document.getElementById("filter").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  let visible = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    visible += !row.hidden;
  }
  document.getElementById("count").textContent = `${visible} of ${rows.length} rows`;
});
document.documentElement.dataset.ready = "yes";
