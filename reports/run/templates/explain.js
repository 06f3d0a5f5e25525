"use strict";
// The page of a cell shows what its profile says, a copy of what stands in the section. Whoever
// builds that page calls each of these functions with the cell's id and the place to fill.
(window.deploymarkCellParts = window.deploymarkCellParts || []).push((cell, place) => {
  const found = [...document.querySelectorAll("details[data-explained]")].find(
    (one) => one.dataset.explained === cell && !one.closest("[data-cell-page]"),
  );
  if (!found) return;
  const title = document.createElement("h3");
  title.textContent = "Why it is slow";
  place.append(title, found.querySelector(".explanation").cloneNode(true));
});
