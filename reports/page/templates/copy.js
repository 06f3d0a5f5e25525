// Copies a text: not every browser gives a page of a file its clipboard, an area selected serves.
(() => {
  "use strict";
  window.deploymarkCopy = async (text, holder = document.body) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      holder.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
})();
