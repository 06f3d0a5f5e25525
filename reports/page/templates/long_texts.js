// A text too long to be read is cut for the eye, the whole of it on demand. It is text, not markup.
(() => {
  "use strict";
  const longest = 1000, shown = 300;
  const whole = "script, style, pre, textarea, details:not([open]) > :not(summary), .chart, .long";
  // These have no room for a fold: what they show on pointing is the whole.
  const narrow = "summary, button, a, label, h1, h2, h3, h4, option";
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node.data.length > longest && !node.parentElement.closest(whole)) found.push(node);
  }
  for (const node of found) {
    const head = `${node.data.slice(0, shown).trim()}…`;
    const place = node.parentElement.closest(narrow);
    if (place) {
      place.title = node.data;
      node.data = head;
      continue;
    }
    const fold = document.createElement("details");
    const summary = document.createElement("summary");
    fold.className = "long";
    summary.textContent = head;
    fold.append(summary, node.data);
    node.replaceWith(fold);
  }
})();
