// A cell's page: all that the run knows of it, over the table; Back and Escape return.
(() => {
  "use strict";
  const dialog = document.getElementById("cell-page");
  if (!dialog) return;
  // Other scripts add parts: functions of a cell's id that give an element, or null.
  window.deploymarkCellParts = window.deploymarkCellParts || [];
  let details = null;
  let opener = null;

  const make = (tag, text, css) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (css) element.className = css;
    return element;
  };

  function list(pairs) {
    const found = make("dl", null, "facts");
    for (const [name, ...values] of pairs) {
      const line = make("div");
      line.append(make("dt", name));
      const value = make("dd");
      value.append(...values);
      line.append(value);
      found.append(line);
    }
    return found;
  }

  function section(title, ...content) {
    const found = make("section");
    found.append(make("h3", title), ...content);
    return found;
  }

  function figure(column, field, { parts }) {
    const { text, title, extra } = parts(field);
    const unit = column.unit && text !== null ? ` ${column.unit}` : "";
    const value = make("span", text === null ? "–" : `${text}${extra ? ` ${extra}` : ""}${unit}`);
    if (text === null) value.className = "absent";
    const nodes = [value];
    if (title && title !== text) nodes.push(" ", make("small", title));
    return [column.title, ...nodes];
  }

  function figures(cell, table) {
    const groups = new Map();
    table.columns.forEach((column, index) => {
      if (["name", "status"].includes(column.key)) return;
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push(figure(column, cell.fields[index], table));
    });
    const holder = make("div", null, "sides");
    for (const [name, pairs] of groups) {
      const group = make("div");
      group.append(make("h4", name), list(pairs));
      holder.append(group);
    }
    return holder;
  }

  const SVG = "http://www.w3.org/2000/svg";
  function shape(kind, values) {
    const element = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
    return element;
  }

  // Whiskers to the 5th and 95th percentile, a box of the middle half, a line at the median.
  function distribution(ms, low, high) {
    const [width, height] = [320, 16];
    const at = (value) => ((Math.log(value) - low) / (high - low || 1)) * (width - 8) + 4;
    const [least, p5, p25, p50, p75, p95, greatest] = ms.map(at);
    const drawing = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
    drawing.setAttribute("aria-label", `from ${ms[0]} to ${ms[6]} ms, median ${ms[3]} ms`);
    drawing.append(
      shape("line", { x1: least, x2: greatest, y1: 8, y2: 8, class: "range" }),
      shape("line", { x1: p5, x2: p95, y1: 8, y2: 8, class: "most" }),
      shape("rect", { x: p25, width: Math.max(1, p75 - p25), y: 3, height: 10, class: "half" }),
      shape("line", { x1: p50, x2: p50, y1: 1, y2: 15, class: "median" }),
    );
    return drawing;
  }

  function launches(items) {
    const timed = items.filter((item) => item.ms && item.ms.length && item.ms[0] > 0);
    const low = Math.log(Math.min(...timed.map((item) => item.ms[0])));
    const high = Math.log(Math.max(...timed.map((item) => item.ms[6])));
    const table = make("table", null, "cells plain");
    const head = make("tr");
    for (const title of ["launch", "p50, ms", "latency (5 to 95 %, middle half, median)", "inferences", "warm-up", "remarks"]) {
      const cell = make("th", title);
      cell.scope = "col";
      head.append(cell);
    }
    const body = make("tbody");
    for (const item of items) {
      const line = make("tr");
      const name = make("th", `${item.launch}${item.attempt ? `, attempt ${item.attempt + 1}` : ""}`);
      name.scope = "row";
      const drawn = make("td");
      const hasTimes = timed.includes(item);
      if (hasTimes) drawn.append(distribution(item.ms, low, high));
      const remarks = [
        item.status === "ok" ? "" : `${item.status}: ${item.reason || ""}`,
        ...(item.disturbed || []),
        item.temperature_c ? `${item.temperature_c} °C` : "",
        item.mhz ? `${item.mhz} MHz` : "",
        item.foreign ? `${item.foreign} cores used by others` : "",
      ].filter(Boolean);
      line.append(
        name,
        make("td", hasTimes ? item.ms[3] : "–", "n"),
        drawn,
        make("td", item.count || "–", "n"),
        make("td", item.warmup ? `${item.warmup} inferences` : "–"),
        make("td", remarks.join("; "), "told"),
      );
      body.append(line);
    }
    const top = make("thead");
    top.append(head);
    table.append(top, body);
    const scroll = make("div", null, "scroll short");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "launches of the cell");
    scroll.append(table);
    return scroll;
  }

  function copies(cell, table, again) {
    const line = make("p", null, "table-tools");
    const row = table.columns
      .map((column, index) => [column.title + (column.unit ? `, ${column.unit}` : ""), table.text(cell.fields[index]), column])
      .filter(([, , column]) => column.shown);
    row[0] = ["cell", cell.id, row[0][2]];
    const grid = [row.map(([title]) => title), row.map(([, value]) => value)];
    const offers = {
      "Copy the row as Markdown": () => table.formats.md(grid),
      "Copy it for a spreadsheet": () => grid.map((values) => values.join("\t")).join("\n"),
      "Copy the command": () => again,
    };
    for (const [title, value] of Object.entries(offers)) {
      const button = make("button", title);
      button.type = "button";
      button.addEventListener("click", () => copy(value(), button));
      line.append(button, " ");
    }
    return line;
  }

  async function copy(text, button) {
    await deploymarkCopy(text, dialog);
    const title = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = title), 1500);
  }

  function neighbours(cell, table) {
    const axes = ["variant", "precision", "backend"];
    const found = [];
    for (const axis of axes) {
      const alike = table.cells.filter(
        (other) => other !== cell && axes.every((name) => name === axis || other[name] === cell[name]),
      );
      if (!alike.length) continue;
      const links = alike.slice(0, 12).flatMap((other) => {
        const link = make("button", other[axis], "link");
        link.type = "button";
        link.title = other.id;
        link.addEventListener("click", () => deploymarkFragment.set({ cell: other.id }, { push: true }));
        return [link, " "];
      });
      found.push([`other ${axis}`, ...links]);
    }
    return found.length ? [list(found)] : [];
  }

  function fill(cell, table) {
    const told = details.cells[cell.id] || {};
    const close = make("button", "Close", "close");
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    const title = make("h2", cell.id);
    title.id = "cell-page-title";
    title.tabIndex = -1;
    const state = make("p");
    state.append(make("span", cell.status, `status ${cell.status}`));
    if (told.reason) state.append(" ", told.reason);
    const parts = [close, title, state];
    if (told.remedy) parts.push(make("p", `Remedy: ${told.remedy}`, "callout"));
    if (told.stopped) parts.push(make("p", told.stopped, "hint"));
    for (const warning of cell.warnings) parts.push(make("p", `▲ ${warning}`, "callout"));
    parts.push(copies(cell, table, told.again), section("Figures", figures(cell, table)));
    for (const part of window.deploymarkCellParts) {
      const element = part(cell.id);
      if (element) parts.push(element);
    }
    if (told.launches) parts.push(section("Launches", launches(told.launches)));
    else if (!details.drawn) parts.push(make("p", "The launches are in launches.jsonl.", "hint"));
    if (told.notes) {
      const notes = make("ul", null, "notes");
      notes.append(...told.notes.map((note) => make("li", note)));
      parts.push(section("How the artifact came out", notes));
    }
    const facts = [["measure it again", make("code", told.again)]];
    if (told.settings) facts.push(["runtime settings", told.settings]);
    if (told.sha256) facts.push(["SHA-256 of the artifact", make("code", told.sha256)]);
    parts.push(section("Settings and files", list(facts)), ...neighbours(cell, table));
    dialog.replaceChildren(...parts);
    title.focus();
  }

  async function show() {
    const table = window.deploymarkTable;
    const id = deploymarkFragment.get("cell");
    const cell = table && table.cells.find((item) => item.id === id);
    if (!cell) {
      if (dialog.open) dialog.close();
      return;
    }
    details = details || (await deploymarkData("cell-details"));
    if (!dialog.open) {
      opener = document.activeElement;
      dialog.showModal();
    }
    fill(cell, table);
    dialog.scrollTop = 0;
  }

  dialog.addEventListener("close", () => {
    if (deploymarkFragment.get("cell")) deploymarkFragment.set({ cell: null });
    dialog.replaceChildren();
    if (opener && opener.isConnected) opener.focus();
  });
  // A click beside the page closes it.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  deploymarkFragment.on(show);
  document.addEventListener("deploymark:table", show);
  if (window.deploymarkTable) show();
})();
