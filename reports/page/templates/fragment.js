// What the page's address remembers: #sort=latency_p50_ms&backend=onnxruntime&cell=…
// A plain #section is none of it, and is left to the browser.
(() => {
  "use strict";
  const read = () => {
    const text = location.hash.slice(1);
    return new URLSearchParams(text.includes("=") ? text : "");
  };
  const listeners = [];
  const tell = () => listeners.forEach((listener) => listener());
  window.deploymarkFragment = {
    get: (key) => read().get(key),
    // Values by key, null to forget one; "push" makes Back return to what is there now.
    set(values, { push = false } = {}) {
      const found = read();
      for (const [key, value] of Object.entries(values)) {
        if (value === null || value === "") found.delete(key);
        else found.set(key, value);
      }
      const text = found.toString();
      const address = text ? `#${text}` : location.pathname + location.search;
      if (push) history.pushState(null, "", address);
      else history.replaceState(null, "", address);
      if (push) tell();
    },
    on: (listener) => listeners.push(listener),
  };
  addEventListener("popstate", tell);
  addEventListener("hashchange", tell);
})();
