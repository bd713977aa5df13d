const number = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(?=$|[\s%])/i;
const value = cell => { const text = (cell.firstChild?.textContent ?? "").trim(), found = text.match(number);
  return found ? Number(found[0]) : text; };
const order = (x, y) => x < y ? -1 : x > y ? 1 : 0, empty = x => x === "" || x === "\u2013";
function sort(head) {
  const table = head.closest("table"), body = table.tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
  const rows = [...body.rows].map(row => [value(row.cells[head.cellIndex]), row]);
  rows.sort(([x], [y]) => empty(x) || empty(y) ? empty(x) - empty(y) : typeof x !== typeof y ? (typeof x === "number" ? -1 : 1)
    : order(x, y) * (up ? 1 : -1));
  body.append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
}
for (const head of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-label", `sort by ${head.textContent}`);
  head.append(button);
  head.addEventListener("click", () => sort(head));  // of the button too
}
// What scrolls can be reached by keyboard.
const scrolls = new ResizeObserver(parts => parts.forEach(({ target }) => {
  target.toggleAttribute("tabindex", false);
  if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
}));
document.querySelectorAll(".wide").forEach(part => scrolls.observe(part));
const folded = [...document.querySelectorAll("details:not([open])")];
addEventListener("beforeprint", () => folded.forEach(part => { part.open = true; }));
addEventListener("afterprint", () => folded.forEach(part => { part.open = false; }));
