// The limits of the question as lines in the scatter, and a ring around the cell to ship.
(() => {
  "use strict";
  const figure = document.querySelector('figure[data-spec="spec-scatter"]');
  if (!figure) return;
  let asked = null;
  let rows = null;

  function show() {
    if (!asked || !figure.view) return;
    rows = rows || figure.view.data("cells");
    const axis = document.getElementById("spec-scatter").textContent.includes('"agreement with the reference"') ? "agreement" : "map50_95";
    const lines = (name, key) =>
      asked.limits.filter((limit) => limit.figure === name).map((limit) => ({ [key]: limit.value, text: limit.text }));
    const set = (name, values) => figure.view.data(name, values);
    set("limits_x", lines("latency_p50_ms", "p50"));
    set("limits_y", lines(axis, "map"));
    set("chosen", rows.filter((row) => row.cell === asked.winner));
    figure.view.runAsync();
  }

  document.addEventListener("deploymark:question", (event) => {
    asked = event.detail;
    show();
  });
  figure.addEventListener("deploymark:drawn", show);
})();
