// Reads the data that the page holds: JSON, or JSON under gzip where it is much.
(() => {
  "use strict";
  // The text of an element, unpacked; null where there is no such element.
  window.deploymarkText = async (name) => {
    const element = document.getElementById(name);
    if (!element) return null;
    const text = element.textContent;
    if (element.type !== "application/gzip") return text;
    const bytes = Uint8Array.from(atob(text), (mark) => mark.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  window.deploymarkData = async (name) => JSON.parse(await window.deploymarkText(name));
})();
