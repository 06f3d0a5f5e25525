// Draws the Vega-Lite specifications of the page. Vega-Embed's tooltips escape what they show.
(() => {
  "use strict";
  const options = {
    renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: document.title,
  };
  function draw(figure) {
    const box = figure.querySelector(".chart");
    const spec = JSON.parse(document.getElementById(figure.dataset.spec).textContent);
    if (box.clientWidth < 600) {
      const below = { orient: "bottom", columns: 2, layout: { bottom: { direction: "vertical" } } };
      Object.assign(spec.config.legend, below);
    }
    vegaEmbed(box, spec, options).catch((error) => {
      box.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    });
  }

  for (const figure of document.querySelectorAll("figure[data-spec]")) {
    // What is folded away is drawn when it is opened: it has no width before, and may be much.
    const fold = figure.closest("details:not([open])");
    if (fold) fold.addEventListener("toggle", () => draw(figure), { once: true });
    else draw(figure);
  }
})();
