// The table of cells, made of the data in the page: sort, filter, search and columns, all of which
// are kept in the address. Other scripts find the table as window.deploymarkTable once the event
// "deploymark:table" has been sent.
(() => {
  "use strict";
  const table = document.getElementById("cell-table");
  const form = document.querySelector("form.filters");
  if (!table || !form) return;
  const STEP = 100;  // rows that are made at once: a filter is to answer at once
  const KEPT = ["backend", "precision", "variant", "status"];
  const order = new Intl.Collator("en", { numeric: true });
  const count = form.querySelector("output");
  const chooser = document.querySelector(".column-groups");
  const more = document.querySelector(".more-rows");
  let data, columns, byKey, ids, words, defaults;
  let state, found = [], made = 0, drawn = "", winner = "", leader = "";

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

  // [text, value, extra, title] of a cell; a text of null is an absent figure.
  const field = (column, row) => column.d[column.r ? column.r[row] : 0];
  const text = (key, row) => field(byKey.get(key), row)[0] ?? "";
  // With the file's name: a link of a fragment alone is one that skips, to those who check pages.
  const file = location.pathname.split("/").pop();
  const address = (row) => `${file}#cell=${encodeURIComponent(ids[row])}`;

  // A state as a text, to tell whether it is another: rows that are made anew lose the focus.
  const told = (one) => JSON.stringify([one.find, one.sort, one.descending, one.kept, [...one.columns]]);

  function empty() {
    return { find: "", sort: "", descending: false, columns: defaults, kept: {} };
  }

  // The state that the address holds, or null where it is that of a section or of a cell alone.
  function fromAddress() {
    const hash = location.hash.slice(1), given = deploymarkFragment;
    if (hash && (!hash.includes("=") || /^cell=[^&]*$/.test(hash))) return null;
    const read = empty();
    read.find = given.get("find") ?? "";
    if (byKey.has(given.get("sort"))) read.sort = given.get("sort");
    read.descending = given.get("order") === "descending";
    for (const key of KEPT) if (given.get(key)) read.kept[key] = given.get(key);
    const named = (given.get("columns") ?? "").split(",").filter((key) => byKey.has(key));
    if (named.length) read.columns = new Set(["cell", ...named]);
    return read;
  }

  function toAddress() {
    const same = state.columns.size === defaults.size && [...defaults].every((k) => state.columns.has(k));
    return {
      find: state.find,
      sort: state.sort,
      order: state.sort && state.descending ? "descending" : null,
      ...Object.fromEntries(KEPT.map((key) => [key, state.kept[key] || null])),
      columns: same ? null : [...state.columns].join(","),
    };
  }

  // Typing changes the address in place; any other change can be gone back from.
  function changed({ typing = false } = {}) {
    const next = toAddress();
    const same = Object.entries(next).every(([key, value]) => (deploymarkFragment.get(key) ?? "") === (value ?? ""));
    if (!same) deploymarkFragment.set(next, { push: !typing });
    if (same || typing || !fromAddress()) show();
  }

  function select() {
    const asked = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = KEPT.filter((key) => state.kept[key]);
    found = ids.map((_, row) => row).filter((row) =>
      asked.every((word) => words[row].includes(word)) &&
      kept.every((key) => text(key, row) === state.kept[key]));
    const column = byKey.get(state.sort);
    if (!column) return;
    const sign = state.descending ? -1 : 1;
    const keys = ids.map((id, row) => {
      const [shown, value] = field(column, row);
      return shown === null ? null : value ?? (column.key === "cell" ? id : shown);
    });
    found.sort((a, b) => {
      const [one, two] = [keys[a], keys[b]];
      // What was not measured comes last either way.
      if (one === null || two === null) return (one === null) - (two === null) || a - b;
      const numbers = typeof one === "number" && typeof two === "number";
      return sign * (numbers ? one - two : order.compare(one, two)) || a - b;
    });
  }

  const shownColumns = () => columns.filter((column) => state.columns.has(column.key));

  function heading(column) {
    const button = make("button", { type: "button", textContent: column.title });
    if (column.unit) {
      button.append(document.createElement("br"), make("span", { className: "unit", textContent: column.unit }));
    }
    button.addEventListener("click", () => sortBy(column));
    const th = make("th", { scope: "col", title: column.meaning, className: column.numeric ? "n" : "" }, button);
    th.dataset.key = column.key;
    const direction = state.descending ? "descending" : "ascending";
    th.setAttribute("aria-sort", state.sort === column.key ? direction : "none");
    return th;
  }

  function mark(row) {
    if (ids[row] === winner) return "the answer";
    return !winner && ids[row] === leader ? "leads" : "";
  }

  function entry(column, row) {
    const [shown, , extra, title] = field(column, row);
    if (column.key === "cell") {
      const link = make("a", { href: address(row), textContent: cut(data.names[row], 100), title: ids[row] });
      const th = make("th", { scope: "row" }, link);
      if (mark(row)) th.append(" ", make("small", { className: "answer-mark", textContent: mark(row) }));
      return th;
    }
    const td = document.createElement("td");
    if (column.numeric) td.className = "n";
    else if (column.key !== "status") td.className = "cut";
    if (shown === null) {
      td.classList.add("absent");
      td.textContent = "\u2013";
    } else if (column.key === "status") {
      const disturbed = data.disturbed.includes(row) && shown === "ok" ? " disturbed" : "";
      td.append(make("span", { className: `status ${shown}${disturbed}`, textContent: shown }));
    } else {
      td.textContent = cut(shown, 200);
    }
    if (extra) td.append(" ", make("small", { textContent: extra }));
    if (title) td.title = title;
    return td;
  }

  function line(row) {
    const tr = make("tr", {}, ...shownColumns().map((column) => entry(column, row)));
    for (const key of KEPT) tr.dataset[key] = text(key, row);
    tr.classList.toggle("answer", Boolean(mark(row)));
    const copy = make("button", { type: "button", className: "copy" });
    copy.setAttribute("aria-label", `copy the row of ${data.names[row]}`);
    copy.addEventListener("click", () => document.dispatchEvent(new CustomEvent("deploymark:copy", { detail: row })));
    tr.cells[0].append(copy);
    return tr;
  }

  function grow(until) {
    const rows = document.createDocumentFragment();
    const end = Math.min(until, found.length);
    for (; made < end; made += 1) rows.append(line(found[made]));
    table.tBodies[0].append(rows);
    more.hidden = made >= found.length;
    const left = found.length - made;
    more.firstElementChild.textContent = `Show ${Math.min(STEP, left)} more of ${left}`;
  }

  function show() {
    drawn = told(state);
    select();
    const focus = table.tHead.contains(document.activeElement) && document.activeElement.closest("th").dataset.key;
    table.tHead.rows[0].replaceChildren(...shownColumns().map(heading));
    if (focus) table.tHead.querySelector(`th[data-key="${focus}"] button`)?.focus();
    table.tBodies[0].replaceChildren();
    made = 0;
    grow(ids.length <= 1.5 * STEP ? ids.length : STEP);
    count.textContent = `${found.length} of ${ids.length} cells shown`;
    form.elements.find.value = state.find;
    for (const key of KEPT) if (form.elements[key]) form.elements[key].value = state.kept[key] ?? "";
    for (const box of chooser.querySelectorAll("input")) box.checked = state.columns.has(box.value);
  }

  function sortBy(column) {
    if (state.sort === column.key) state.descending = !state.descending;
    else Object.assign(state, { sort: column.key, descending: column.high || column.key === "warnings" });
    changed();
  }

  function buildChooser() {
    const groups = new Map();
    for (const column of columns) {
      if (column.key === "cell") continue;
      if (!groups.has(column.group)) groups.set(column.group, make("fieldset", {}, make("legend", { textContent: column.group })));
      const none = ids.every((_, row) => field(column, row)[0] === null);
      const box = make("input", { type: "checkbox", value: column.key });
      const label = make("label", { title: column.meaning }, box, ` ${column.title}`);
      if (none) label.append(make("small", { textContent: " none measured" }));
      groups.get(column.group).append(label);
    }
    const usual = make("button", { type: "button", textContent: "The usual columns" });
    const all = make("button", { type: "button", textContent: "All columns" });
    usual.addEventListener("click", () => { state.columns = defaults; changed(); });
    all.addEventListener("click", () => { state.columns = new Set(byKey.keys()); changed(); });
    chooser.append(...groups.values(), make("p", {}, usual, " ", all));
    chooser.addEventListener("change", () => {
      const chosen = [...chooser.querySelectorAll("input:checked")].map((box) => box.value);
      state.columns = new Set(["cell", ...chosen]);
      changed();
    });
  }

  function listen() {
    form.addEventListener("input", (event) => {
      state.find = form.elements.find.value;
      for (const key of KEPT) state.kept[key] = form.elements[key].value;
      changed({ typing: event.target === form.elements.find });
    });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      state = { ...empty(), columns: state.columns };
      changed();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", (event) => {
      const rows = event.target.dataset.rows;
      if (rows) grow(rows === "all" ? found.length : made + STEP);
    });
    const follow = () => {
      const given = fromAddress();
      if (!given || told(given) === told(state) && told(given) === drawn) return;
      state = given;
      show();
    };
    deploymarkFragment.on(follow);
    addEventListener("beforeprint", () => grow(Math.min(found.length, 500)));
  }

  function answered(detail) {
    const before = winner + leader;
    winner = detail?.winner ?? "";
    leader = detail?.leader ?? "";
    if (data && before !== winner + leader) show();
  }

  answered(JSON.parse(table.dataset.answer || "null"));
  document.addEventListener("deploymark:question", (event) => answered(event.detail));

  deploymarkData("cell-data").then((given) => {
    columns = given.columns;
    byKey = new Map(columns.map((column) => [column.key, column]));
    // No address holds half of a surrogate pair.
    ids = Array.from(given.names, (_, row) => text("cell", row)).map((id) => id.toWellFormed?.() ?? id);
    words = ids.map((id) => id.toLowerCase());
    defaults = new Set(columns.filter((column) => column.shown).map((column) => column.key));
    state = fromAddress() ?? empty();
    data = given;
    window.deploymarkTable = { data, ids, byKey, field, address, make, cut, shownColumns, found: () => found };
    buildChooser();
    listen();
    form.hidden = false;
    document.querySelector(".table-tools").hidden = false;
    show();
    document.dispatchEvent(new CustomEvent("deploymark:table"));
  }).catch((error) => {
    count.textContent = `The table's data could not be read: ${error.message}`;
    console.error(error);
  });
})();
