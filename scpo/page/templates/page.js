"use strict";
(() => {
  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.key === undefined ? cell.textContent.trim() : Number(cell.dataset.key);
  };
  const compare = (a, b) => {
    const numbers = typeof a === "number" && typeof b === "number";
    return numbers ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  for (const heading of document.querySelectorAll("thead th")) {
    heading.querySelector("button").addEventListener("click", () => {
      const table = heading.closest("table");
      const column = heading.cellIndex;
      const up = heading.getAttribute("aria-sort") === "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      rows.sort((a, b) => (up ? 1 : -1) * compare(keyOf(a, column), keyOf(b, column)));
      body.append(...rows);
    });
  }
  for (const mark of document.querySelectorAll("[data-x]")) mark.style.left = mark.dataset.x + "%";
  for (const mark of document.querySelectorAll("[data-y]")) mark.style.top = mark.dataset.y + "%";
  const tip = document.getElementById("tip");
  const show = (point) => {
    const box = point.getBoundingClientRect();
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const left = Math.min(box.right + 8, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = Math.max(8, left) + scrollX + "px";
    tip.style.top = box.bottom + 6 + scrollY + "px";
  };
  const hide = () => { tip.hidden = true; };
  for (const point of document.querySelectorAll(".points [aria-label]")) {
    point.addEventListener("mouseenter", () => show(point));
    point.addEventListener("focus", () => show(point));
    point.addEventListener("mouseleave", hide);
    point.addEventListener("blur", hide);
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();
