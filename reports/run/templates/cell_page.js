// The page of one cell, in a dialog: #cell=<percent-encoded id> opens it, Escape and Back close it.
//
// Other scripts add to it: window.deploymarkCellParts is a list of functions (cell, place); each is
// called with the cell's id and an element to fill, and may return an element to append instead.
window.deploymarkCellParts = window.deploymarkCellParts || [];
document.addEventListener("deploymark:table", () => {
  "use strict";
  const { data, ids, byKey, field, address, make, cut, copy, markdown, tabbed } = window.deploymarkTable;
  const dialog = document.getElementById("cell-page");
  const SVG = "http://www.w3.org/2000/svg";
  let opener = null, before = null;

  const row = (key) => ids.indexOf(key);
  const said = (key, number) => {
    const column = data.texts[key];
    return column.d[column.r ? column.r[number] : 0];
  };
  const part = (title, ...children) => {
    const some = children.filter(Boolean);
    return some.length ? make("section", {}, make("h3", { textContent: title }), ...some) : null;
  };
  const pairs = (entries) => {
    const list = make("dl", { className: "facts" });
    for (const [name, value, note] of entries) {
      if (value === null || value === undefined || value === "") continue;
      const dd = make("dd", { textContent: String(value) });
      if (note) dd.append(" ", make("small", { textContent: note }));
      list.append(make("div", {}, make("dt", { textContent: name }), dd));
    }
    return list.childElementCount ? list : null;
  };
  const paragraphs = (texts) => texts.filter(Boolean).map((content) => make("p", { textContent: content }));

  function figures(number) {
    const groups = new Map();
    for (const column of data.columns) {
      if (["cell", "status", "executed_precision", "warnings", "notes"].includes(column.key)) continue;
      const [shown, , extra, title] = field(column, number);
      const value = shown === null ? "\u2013" : [shown, extra, column.unit].filter(Boolean).join(" ");
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push([column.title, value, title === shown ? "" : title]);
    }
    return [...groups].map(([name, entries]) => {
      // Figures that are missing for one reason are told together.
      const known = entries.filter(([, value]) => value !== "\u2013");
      const missing = new Map();
      for (const [title, value, why] of entries) {
        if (value === "\u2013") missing.set(why, [...(missing.get(why) ?? []), title]);
      }
      const told = [...missing].map(([why, titles]) => [titles.join(", "), "\u2013", why]);
      return make("div", {}, make("h4", { textContent: name }), pairs([...known, ...told]) ?? "");
    });
  }

  // Quantiles of a launch on the scale of all launches of the cell: a line from the first to the
  // last, a box over the middle half, a stroke at the median.
  function strip(quantiles, low, high) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 300 18");
    svg.setAttribute("class", "strip");
    svg.setAttribute("aria-hidden", "true");
    const at = (value) => 4 + (292 * (value - low)) / (high - low || 1);
    const add = (name, attributes) => {
      const shape = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
      svg.append(shape);
    };
    const named = (share) => quantiles[data.quantiles.indexOf(share)];
    const first = quantiles[0], last = quantiles[quantiles.length - 1];
    add("line", { x1: at(first), x2: at(last), y1: 9, y2: 9, class: "reach" });
    add("line", { x1: at(named(0.05)), x2: at(named(0.95)), y1: 9, y2: 9, class: "most" });
    add("rect", { x: at(named(0.25)), width: Math.max(1, at(named(0.75)) - at(named(0.25))), y: 3, height: 12 });
    add("line", { x1: at(named(0.5)), x2: at(named(0.5)), y1: 1, y2: 17, class: "median" });
    return svg;
  }

  const HEADS = ["launch", "status", "started", "inferences"];
  const AFTER = ["load, ms", "cold, ms", "warm-up, inferences", "bursts quiet / all", "disturbed by"];

  function scrolled(label, table) {
    const box = make("div", { className: "scroll short", tabIndex: 0 }, table);
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", label);
    return box;
  }

  function grid(label, heads, lines) {
    const th = (content, scope) => make("th", { scope, textContent: content });
    const body = make("tbody", {}, ...lines.map(([first, ...rest]) => make("tr", {}, th(first, "row"),
      ...rest.map((value) => make("td", {}, value instanceof Node ? value : String(value ?? "\u2013"))))));
    return scrolled(label, make("table", { className: "cells plain" },
      make("thead", {}, make("tr", {}, ...heads.map((head) => th(head, "col")))), body));
  }

  function launches(number) {
    const all = data.launches[number];
    if (!all.length) return null;
    const times = all.flatMap((launch) => launch[5]);
    const low = Math.min(...times), high = Math.max(...times);
    const percent = data.quantiles.map((share) => ({ 0: "least", 1: "most" })[share] ?? `p${Math.round(100 * share)}`);
    const lines = all.map(([launch, attempt, status, started, n, quantiles, load, cold, warm, steady, bursts, quiet, by, why]) => [
      attempt ? `${launch}, attempt ${attempt + 1}` : launch,
      status, started, n,
      quantiles.length ? strip(quantiles, low, high) : why || "\u2013",
      ...data.quantiles.map((_, index) => quantiles[index] ?? "\u2013"),
      load, cold, warm == null ? null : `${warm}${steady === false ? ", not steady" : ""}`,
      bursts == null ? null : `${quiet} / ${bursts}`,
      by.join("; ") || "nothing",
    ]);
    const heads = [...HEADS, "distribution", ...percent.map((name) => `${name}, ms`), ...AFTER];
    return part("Launches", grid("launches", heads, lines), times.length ? make("p", { className: "hint",
      textContent: `Each strip is a launch's latencies from ${low} to ${high} ms: the thin line ${percent[0]} to ${percent.at(-1)}, the thick one p5 to p95, the box the middle half, the stroke the median.` }) : null);
  }

  function conditions(number) {
    const recorded = data.launches[number].filter((launch) => launch[14].length);
    if (!recorded.length) return null;
    const seen = data.conditions.map((title, index) => [title, index])
      .filter(([, index]) => recorded.some((launch) => launch[14][index] !== null));
    const lines = recorded.map((launch) => [
      launch[1] ? `${launch[0]}, attempt ${launch[1] + 1}` : launch[0], ...seen.map(([, index]) => launch[14][index])]);
    return part("Conditions", grid("conditions", ["launch", ...seen.map(([title]) => title)], lines));
  }

  function command(number) {
    const line = data.commands[number];
    if (!line) return null;
    const code = make("pre", { textContent: line, tabIndex: 0 });
    const button = make("button", { type: "button", textContent: "Copy the command" });
    button.addEventListener("click", async () => { button.textContent = await copy(line, button); });
    return part("Measure it again", code, button);
  }

  // The cells that differ in one axis alone.
  function alike(number, axis) {
    const axes = ["model", "variant", "precision", "backend", "device", "imgsz", "batch", "threads", "memory_limit_mb"];
    const of = (key, other) => field(byKey.get(key), other)[0];
    const rest = axes.filter((key) => key !== axis);
    return ids.map((_, other) => other).filter((other) => other !== number &&
      of(axis, other) !== of(axis, number) && rest.every((key) => of(key, other) === of(key, number)));
  }

  function links(number) {
    const backends = alike(number, "backend"), precisions = alike(number, "precision");
    const list = (others) => make("p", {}, ...others.slice(0, 24).flatMap((other) => [
      make("a", { href: address(other), textContent: cut(data.names[other], 100), title: ids[other] }), " "]));
    return part("Neighbours",
      backends.length ? make("h4", { textContent: "The same in other backends" }) : null,
      backends.length ? list(backends) : null,
      precisions.length ? make("h4", { textContent: "The same in other precisions" }) : null,
      precisions.length ? list(precisions) : null);
  }

  function files(number) {
    const size = field(byKey.get("artifact_bytes"), number), id = ids[number];
    return part("Files", pairs([
      ["artifact", size[0] === null ? "" : `${size[0]} MiB`],
      ["artifact, SHA-256", said("artifact_sha256", number)],
      ["launches", data.launches[number].length ? "launches.jsonl, lines of this cell" : ""],
      ["predictions", field(byKey.get("map50_95"), number)[0] === null ? "" : `${data.folders.predictions}/${id}.npz`],
    ]));
  }

  function others(number) {
    return window.deploymarkCellParts.map((fill) => {
      const place = make("section");
      try {
        const given = fill(ids[number], place);
        if (given instanceof Node) place.append(given);
      } catch (error) {
        console.error(error);
      }
      return place.childNodes.length ? place : null;
    });
  }

  function fill(number) {
    const close = make("button", { type: "button", className: "close", textContent: "Close" });
    close.addEventListener("click", leave);
    const title = make("h2", { id: "cell-page-title", tabIndex: -1, textContent: cut(ids[number], 300), title: ids[number] });
    const [status, , extra] = field(byKey.get("status"), number);
    const whole = field(byKey.get("executed_precision"), number);
    const tools = make("p", { className: "row-tools" });
    for (const [words, write] of [["Copy as Markdown", markdown], ["Copy tab-separated", tabbed]]) {
      const button = make("button", { type: "button", textContent: words });
      button.addEventListener("click", async () => { button.textContent = await copy(write([number]), button); });
      tools.append(button, " ");
    }
    const top = make("p", {}, make("span", { className: `status ${status}`, textContent: status }), extra ? ` ${extra}` : "");
    const why = [...paragraphs([said("reason", number)]), said("remedy", number)
      ? make("p", {}, make("b", { textContent: "Remedy " }), said("remedy", number)) : null].filter(Boolean);
    const parts = [
      why.length ? make("div", { className: "callout" }, ...why) : null,
      ...others(number),
      part("Figures", make("div", { className: "figure-groups" }, ...figures(number))),
      launches(number),
      conditions(number),
      part("Executed precision", ...paragraphs([whole[0] ?? whole[3]])),
      part("Options and providers", pairs([
        ["runtime settings", said("runtime_settings", number)], ["runtime axes", said("runtime_axes", number)],
        ["agreement is with", said("agreement_reference", number)], ["energy from", said("energy_source", number)]])),
      part("Notes and warnings", ...paragraphs([...said("warnings", number), ...said("notes", number),
        ...["stopped", "tail_reason", "accuracy_doubt"].map((key) => said(key, number))])),
      files(number),
      command(number),
      links(number),
    ];
    dialog.replaceChildren(make("header", {}, title, close), top, tools, ...parts.filter(Boolean));
    return title;
  }

  function leave() {
    if (before !== null) history.back();
    else deploymarkFragment.set({ cell: null }, { push: true });
  }

  function follow(arriving = false) {
    const number = row(deploymarkFragment.get("cell"));
    if (number < 0) {
      if (dialog.open) {
        dialog.close();
        // The rows may have been made anew.
        const kept = opener?.isConnected ? opener : [...document.querySelectorAll("#cell-table tbody a")]
          .find((link) => link.getAttribute("href") === opener?.getAttribute?.("href"));
        kept?.focus({ preventScroll: true });
      }
      before = null;
      return;
    }
    if (!dialog.open) {
      before = arriving ? null : "page";
      opener = document.activeElement;
      dialog.showModal();
    }
    fill(number).focus();
    dialog.scrollTop = 0;
  }

  // Escape goes the way of Back, so that the address is that of what is seen.
  dialog.addEventListener("cancel", (event) => { event.preventDefault(); leave(); });
  dialog.addEventListener("close", () => {
    // A browser may close it unasked, on a second Escape.
    if (deploymarkFragment.get("cell")) deploymarkFragment.set({ cell: null });
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) leave(); });
  deploymarkFragment.on(() => follow());
  follow(true);
});
