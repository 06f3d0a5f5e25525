// A text too long to be read is cut for the eye, the whole of it on demand. It is text, not markup.
(() => {
  "use strict";
  const longest = 1000, shown = 300;
  const ours = "script, style, pre, textarea, details:not([open]) > :not(summary), .chart, .long";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node.data.length > longest && !node.parentElement.closest(ours)) found.push(node);
  }
  for (const node of found) {
    const fold = document.createElement(node.parentElement.closest("summary") ? "span" : "details");
    fold.className = "long";
    const head = node.data.slice(0, shown).trim();
    if (fold.localName === "span") {
      fold.textContent = `${head}…`;
      fold.title = node.data;
    } else {
      const summary = document.createElement("summary");
      summary.textContent = `${head}…`;
      fold.append(summary, node.data);
    }
    node.replaceWith(fold);
  }
})();
