// The rows and columns shown as CSV and as Markdown, and a row for the clipboard.
document.addEventListener("deploymark:table", () => {
  "use strict";
  const { data, ids, field, make, shownColumns, found } = window.deploymarkTable;
  const said = document.querySelector(".table-tools .said");

  // Headings and rows; a figure in full is for programs, the text shown for readers. What stands
  // beside a figure (an interval) has a column of its own.
  function grid(rows, { full }) {
    const columns = shownColumns();
    const beside = new Set(columns.filter((column) => rows.some((row) => field(column, row)[2])));
    const heads = columns.flatMap((column) => {
      const head = column.unit ? `${column.title}, ${column.unit}` : column.title;
      return full && beside.has(column) ? [head, `${column.title}: beside`] : [head];
    });
    const lines = rows.map((row) => columns.flatMap((column) => {
      const [shown, value, extra] = field(column, row);
      const known = column.key === "cell" ? ids[row] : shown ?? "";
      if (!full) return [extra ? `${known} ${extra}` : known];
      const exact = column.numeric && value != null ? value : known;
      return beside.has(column) ? [exact, extra ?? ""] : [exact];
    }));
    return { heads, lines, numeric: columns.map((column) => column.numeric) };
  }

  // A text that a spreadsheet would take for a formula begins with an apostrophe.
  function csvField(value) {
    if (typeof value === "number") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n\t']/.test(safe) || safe !== safe.trim() ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv(rows) {
    const { heads, lines } = grid(rows, { full: true });
    return [heads, ...lines].map((line) => line.map(csvField).join(",")).join("\r\n") + "\r\n";
  }

  // As reports/page/markdown.py: one line, and nothing in it that would be taken for markup.
  function markdownField(value) {
    const line = String(value).split(/\s+/).filter(Boolean).join(" ");
    return line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
      .replace(/[\\`*[\]#|~$]/g, "\\$&")
      .replace(/\b(https?|ftp|mailto|xmpp):/gi, "$1&#58;").replace(/\b(www)\./gi, "$1&#46;")
      .replace(/@(?=[A-Za-z0-9])/g, "@&#8288;")
      .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, "\\_");
  }

  function markdown(rows) {
    const { heads, lines, numeric } = grid(rows, { full: false });
    const row = (line) => `| ${line.map(markdownField).join(" | ")} |`;
    const rule = `|${numeric.map((right) => (right ? " ---: " : " --- ")).join("|")}|`;
    return [row(heads), rule, ...lines.map(row)].join("\n") + "\n";
  }

  function tabbed(rows) {
    const { heads, lines } = grid(rows, { full: true });
    const flat = (value) => {
      const plain = String(value).split(/\s+/).join(" ");
      return typeof value === "string" && /^[=+\-@]/.test(plain) ? `'${plain}` : plain;
    };
    return [heads, ...lines].map((line) => line.map(flat).join("\t")).join("\n") + "\n";
  }

  function save(name, type, content) {
    const url = URL.createObjectURL(new Blob([content], { type }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async function copy(content, near) {
    await deploymarkCopy(content, near.closest("dialog") ?? document.body);
    return "Copied";
  }

  const tell = (words) => {
    said.textContent = words;
    setTimeout(() => { if (said.textContent === words) said.textContent = ""; }, 4000);
  };
  const base = document.querySelector("h1").textContent.trim().replace(/[^\w.-]+/g, "_").slice(0, 80);
  const saves = { csv: ["text/csv", csv], md: ["text/markdown", markdown] };
  document.querySelector(".saves").addEventListener("click", (event) => {
    const kind = event.target.dataset.save;
    if (!kind) return;
    const [type, write] = saves[kind];
    save(`${base}.${kind}`, `${type};charset=utf-8`, write(found()));
    tell(`${found().length} of ${ids.length} cells saved as ${kind === "csv" ? "CSV" : "Markdown"}`);
  });
  // A spreadsheet pastes the row in columns, an editor of text gets it likewise.
  document.addEventListener("deploymark:copy", async (event) => {
    tell(`${await copy(tabbed([event.detail]), said)}: ${data.names[event.detail]}, tab-separated`);
  });
  Object.assign(window.deploymarkTable, { csv, markdown, tabbed, copy });
});
