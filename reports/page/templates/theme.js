// Light, dark, or as the system has it: kept where the browser keeps anything for a file.
(() => {
  "use strict";
  const kept = "deploymark-theme";
  const set = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  let theme = "";
  try {
    theme = localStorage.getItem(kept) || "";
  } catch {
    // A page of no origin keeps nothing.
  }
  if (["light", "dark"].includes(theme)) set(theme);
  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = document.documentElement.dataset.theme || "";
    choice.closest("label").hidden = false;
    choice.addEventListener("change", () => {
      set(choice.value);
      try {
        localStorage.setItem(kept, choice.value);
      } catch {
        // As above.
      }
    });
  });
})();
