// Draws the Vega-Lite specifications of the page. Vega-Embed's tooltips escape what they show.
(() => {
  "use strict";
  // Marks are named by the table behind each chart: a reader is not to hear hundreds of them.
  const options = { renderer: "svg", actions: false, config: { aria: false } };

  // Links below a chart that save it as a picture.
  function tools(figure, view) {
    const line = document.createElement("p");
    line.className = "chart-tools";
    for (const kind of ["svg", "png"]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `Save as ${kind.toUpperCase()}`;
      button.addEventListener("click", async () => {
        const link = document.createElement("a");
        link.href = await view.toImageURL(kind, 2);
        link.download = `${document.title} ${figure.dataset.spec.slice(5)}.${kind}`;
        link.click();
      });
      line.append(button);
    }
    figure.append(line);
  }

  // A click on a mark of a cell opens the page of the cell.
  function opensCells(view) {
    if (!document.getElementById("cell-table")) return;
    view.addEventListener("click", (_, item) => {
      const cell = item && item.datum && item.datum.cell;
      if (cell) location.hash = `cell=${encodeURIComponent(cell)}`;
    });
  }

  // The library, where it is packed: the page's policy lets it make functions, as Vega does itself.
  const unpacked = (async () => {
    const source = document.getElementById("chart-library") && (await deploymarkText("chart-library"));
    if (source) new Function(source)();
  })();

  async function draw(figure) {
    await unpacked;
    const box = figure.querySelector(".chart");
    const spec = await deploymarkData(figure.dataset.spec);
    if (box.clientWidth < 600) {
      const below = { orient: "bottom", columns: 2, layout: { bottom: { direction: "vertical" } } };
      Object.assign(spec.config.legend, below);
    }
    try {
      const { view } = await vegaEmbed(box, spec, options);
      box.querySelector("svg").setAttribute("aria-hidden", "true");
      figure.view = view;
      tools(figure, view);
      opensCells(view);
      figure.dispatchEvent(new CustomEvent("deploymark:drawn", { bubbles: true }));
    } catch (error) {
      box.textContent = `This chart could not be drawn: ${error.message}`;
      console.error(error);
    }
  }

  const waiting = [];
  for (const figure of document.querySelectorAll("figure[data-spec]")) {
    // What is folded away is drawn when it is opened: it has no width before, and may be much.
    const fold = figure.closest("details:not([open])");
    if (fold) fold.addEventListener("toggle", () => draw(figure), { once: true });
    else waiting.push(figure);
  }
  // One after the other: the page answers in between.
  const next = () => {
    const figure = waiting.shift();
    if (figure) draw(figure).finally(() => setTimeout(next));
  };
  next();
})();
