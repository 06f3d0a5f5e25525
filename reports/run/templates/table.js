// The table of cells, made of the page's data: sorted, filtered, and as far as it is shown.
(async () => {
  "use strict";
  const table = document.getElementById("cell-table");
  const form = document.getElementById("cell-filters");
  if (!table || !form) return;
  const { columns, cells, most } = await deploymarkData("cells-data");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const count = form.querySelector("output");
  const more = document.getElementById("cell-more");
  const tools = document.getElementById("cell-tools");
  const order = new Intl.Collator("en", { numeric: true });
  const place = new Map(columns.map((column, index) => [column.key, index]));
  const search = cells.map((cell) => `${cell.id} ${text(cell.fields[0])}`.toLowerCase());
  const selects = [...form.querySelectorAll("select")];
  let shown = new Set();
  let limit = most;
  let rows = [];
  let chosen = { winner: null, standings: {} };

  function parts(field) {
    const [text, value = null, title = "", extra = ""] = Array.isArray(field) ? field : [field];
    return text === null ? { text: null, title: value || "" } : { text, value, title, extra };
  }

  function text(field) {
    const { text, extra } = parts(field);
    return text === null ? "" : extra ? `${text} ${extra}` : text;
  }

  // A number where the field has one, else its text; null where nothing was measured.
  function key(cell, index) {
    const { text, value } = parts(cell.fields[index]);
    return text === null ? null : value === null || value === "" ? text : value;
  }

  function compare(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b);
  }

  function sorted(indices) {
    const index = place.get(deploymarkFragment.get("sort"));
    if (index === undefined) return indices;
    const sign = deploymarkFragment.get("order") === "descending" ? -1 : 1;
    const keys = new Map(indices.map((row) => [row, key(cells[row], index)]));
    return indices.sort((a, b) => {
      const [one, two] = [keys.get(a), keys.get(b)];
      // What was not measured comes last either way.
      if (one === null || two === null) return (one === null) - (two === null) || a - b;
      return sign * compare(one, two) || a - b;
    });
  }

  function filtered() {
    const words = (deploymarkFragment.get("find") || "").toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects
      .map((select) => [select.name, deploymarkFragment.get(select.name)])
      .filter(([, value]) => value);
    return cells
      .map((_, index) => index)
      .filter((index) => words.every((word) => search[index].includes(word)))
      .filter((index) => wanted.every(([name, value]) => cells[index][name] === value));
  }

  function datum(column, field) {
    const { text, title, extra } = parts(field);
    const item = document.createElement("td");
    item.className = `${column.numeric ? "n" : ""}${column.long ? " long" : ""}`;
    if (title) item.title = title;
    if (text === null) {
      item.classList.add("absent");
      item.textContent = "–";
      return item;
    }
    item.textContent = text;
    if (extra) item.append(" ", Object.assign(document.createElement("small"), { textContent: extra }));
    return item;
  }

  function named(cell) {
    const head = document.createElement("th");
    head.scope = "row";
    const link = document.createElement("a");
    link.href = `#cell=${encodeURIComponent(cell.id)}`;
    link.title = cell.id;
    link.textContent = parts(cell.fields[0]).text;
    link.addEventListener("click", (event) => {
      event.preventDefault();
      deploymarkFragment.set({ cell: cell.id }, { push: true });
    });
    head.append(link);
    if (cell.id === chosen.winner) {
      head.append(" ", Object.assign(document.createElement("b"), { className: "ship", textContent: "ship" }));
    }
    return head;
  }

  function status(cell, field) {
    const { text, title, extra } = parts(field);
    const item = document.createElement("td");
    if (title) item.title = title;
    const mark = document.createElement("span");
    mark.className = `status ${cell.status}${cell.disturbed && cell.status === "ok" ? " disturbed" : ""}`;
    mark.textContent = text;
    item.append(mark);
    if (extra) item.append(" ", Object.assign(document.createElement("small"), { textContent: extra }));
    if (cell.warnings.length) {
      const warn = document.createElement("a");
      Object.assign(warn, { className: "warn", href: "#warnings", title: cell.warnings.join("\n") });
      warn.textContent = `▲ ${cell.warnings.length}`;
      warn.setAttribute("aria-label", `${cell.warnings.length} warnings`);
      item.append(" ", warn);
    }
    return item;
  }

  function row(index) {
    const cell = cells[index];
    const line = document.createElement("tr");
    line.dataset.cell = cell.id;
    if (cell.id === chosen.winner) line.className = "chosen";
    columns.forEach((column, at) => {
      if (!shown.has(column.key)) return;
      if (column.key === "name") line.append(named(cell));
      else if (column.key === "status") line.append(status(cell, cell.fields[at]));
      else line.append(datum(column, cell.fields[at]));
    });
    return line;
  }

  function draw() {
    rows = sorted(filtered());
    const seen = rows.slice(0, limit);
    body.replaceChildren(...seen.map(row));
    const rest = rows.length - seen.length;
    more.closest("p").hidden = rest <= 0;
    more.textContent = `Show ${Math.min(rest, most)} more of ${rest}`;
    count.textContent = `${rows.length} of ${cells.length} cells shown`;
    const by = deploymarkFragment.get("sort");
    heads.forEach((head, index) => {
      head.hidden = !shown.has(columns[index].key);
      const direction = deploymarkFragment.get("order") || "ascending";
      head.setAttribute("aria-sort", head.dataset.key === by ? direction : "none");
    });
  }

  function sortBy(column) {
    const first = column.high ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const now = deploymarkFragment.get("sort") === column.key && deploymarkFragment.get("order");
    deploymarkFragment.set({ sort: column.key, order: now === first ? other : first });
    draw();
  }

  // From the address to the fields of the form and the columns that are shown.
  function restore() {
    form.elements.find.value = deploymarkFragment.get("find") || "";
    for (const select of selects) select.value = deploymarkFragment.get(select.name) || "";
    const asked = deploymarkFragment.get("columns");
    const usual = columns.filter((column) => column.shown).map((column) => column.key);
    shown = new Set(asked ? ["name", "status", ...asked.split(",")] : usual);
    for (const box of document.querySelectorAll("#cell-columns input")) {
      box.checked = shown.has(box.value);
    }
    draw();
  }

  function chooser() {
    const holder = document.getElementById("cell-columns");
    const groups = new Map();
    for (const column of columns) {
      if (["name", "status"].includes(column.key)) continue;
      if (!groups.has(column.group)) {
        const group = document.createElement("fieldset");
        group.append(Object.assign(document.createElement("legend"), { textContent: column.group }));
        groups.set(column.group, group);
        holder.append(group);
      }
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: column.key });
      label.title = column.meaning;
      label.append(box, ` ${column.title}${column.known ? "" : " (no figure)"}`);
      groups.get(column.group).append(label);
    }
    holder.addEventListener("input", () => {
      const boxes = [...holder.querySelectorAll("input:checked")].map((box) => box.value);
      deploymarkFragment.set({ columns: boxes.join(",") || "name" });
      restore();
    });
  }

  // What a spreadsheet would take for a formula is text.
  function plain(value) {
    return /^[=+\-@\t\r]/.test(value) && !/^[+\-−]?[\d.]+$/.test(value) ? `'${value}` : value;
  }

  function grid() {
    const kept = columns.map((column, index) => [column, index]).filter(([column]) => shown.has(column.key));
    const head = ["cell", ...kept.slice(1).map(([column]) => column.title + (column.unit ? `, ${column.unit}` : ""))];
    const lines = rows.map((index) => [cells[index].id, ...kept.slice(1).map(([, at]) => text(cells[index].fields[at]))]);
    return [head, ...lines];
  }

  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const escaped = (value) => value.replace(/[\\`*_{}[\]<>#|~]/g, "\\$&").replace(/\s*[\r\n]+\s*/g, " ");

  const formats = {
    csv: (lines) => lines.map((line) => line.map((value) => quoted(plain(value))).join(",")).join("\r\n") + "\r\n",
    md: ([head, ...lines]) => {
      const line = (values) => `| ${values.map(escaped).join(" | ")} |`;
      return [line(head), `|${" --- |".repeat(head.length)}`, ...lines.map(line)].join("\n") + "\n";
    },
  };

  function download(kind) {
    const types = { csv: "text/csv", md: "text/markdown" };
    const blob = new Blob([formats[kind](grid())], { type: types[kind] });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${document.querySelector("h1").textContent.replace(/[^\w.-]+/g, "_")}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
  }

  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(columns[index]));
    head.append(button);
  });
  form.addEventListener("input", () => {
    limit = most;
    deploymarkFragment.set({
      find: form.elements.find.value,
      ...Object.fromEntries(selects.map((select) => [select.name, select.value])),
    });
    draw();
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    const empty = Object.fromEntries(selects.map((select) => [select.name, null]));
    deploymarkFragment.set({ find: null, sort: null, order: null, columns: null, ...empty });
    restore();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    limit += most;
    draw();
  });
  tools.addEventListener("click", (event) => {
    const kind = event.target.dataset && event.target.dataset.download;
    if (kind) download(kind);
  });
  document.addEventListener("deploymark:question", (event) => {
    chosen = event.detail;
    draw();
  });
  addEventListener("beforeprint", () => {
    limit = cells.length;
    draw();
  });
  chooser();
  const winner = table.dataset.winner;
  if (winner) chosen = { winner, standings: {} };
  deploymarkFragment.on(restore);
  form.hidden = tools.hidden = false;
  table.classList.add("live");
  restore();
  window.deploymarkTable = { cells, columns, parts, formats, text };
  document.dispatchEvent(new CustomEvent("deploymark:table"));
})();
