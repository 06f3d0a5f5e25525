// The table of cells: sorting by a heading, filters, and the columns that are folded away.
(() => {
  "use strict";
  const table = document.getElementById("cell-table");
  const form = document.querySelector("form.filters");
  if (!table || !form) return;
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const search = rows.map((row) => row.cells[0].textContent.toLowerCase());
  const count = form.querySelector("output");
  const order = new Intl.Collator("en", { numeric: true });

  // A number where the field has one, otherwise its text; null where nothing was measured.
  function key(row, column) {
    const field = row.cells[column];
    if (field.classList.contains("absent")) return null;
    return field.dataset.value === undefined ? field.textContent.trim() : Number(field.dataset.value);
  }

  function compare(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b);
  }

  function sortBy(column) {
    const heading = headings[column];
    const now = heading.getAttribute("aria-sort");
    const first = "highFirst" in heading.dataset ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = now === first ? other : first;
    for (const each of headings) each.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const keyed = rows.map((row, index) => ({ row, index, key: key(row, column) }));
    keyed.sort((a, b) => {
      // What was not measured comes last either way.
      if (a.key === null || b.key === null) {
        return (a.key === null) - (b.key === null) || a.index - b.index;
      }
      return sign * compare(a.key, b.key) || a.index - b.index;
    });
    body.append(...keyed.map((entry) => entry.row));
  }

  function filter() {
    const words = form.elements.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...form.querySelectorAll("select")].filter((select) => select.value);
    let shown = 0;
    rows.forEach((row, index) => {
      const fits =
        words.every((word) => search[index].includes(word)) &&
        chosen.every((select) => row.dataset[select.name] === select.value);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    count.textContent = `${shown} of ${rows.length} cells shown`;
  }

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(column));
  });
  const every = form.elements.every;
  const columns = () => table.classList.toggle("every", Boolean(every && every.checked));
  form.addEventListener("input", () => {
    filter();
    columns();
  });
  // The fields hold their old values until the reset event has passed.
  form.addEventListener("reset", () => setTimeout(() => { filter(); columns(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
  columns();
})();
