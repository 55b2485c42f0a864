"use strict";
// A click makes a box as wide as the page; its ancestors stay above it, what is beside it goes away.
const boxes = [...document.querySelectorAll(".box")].map((node) => ({
  node, left: +node.dataset.left, width: +node.dataset.width, depth: +node.dataset.depth,
}));
const EPSILON = 1e-6;
function zoom(chosen) {
  for (const box of boxes) {
    const above = box.depth < chosen.depth && box.left <= chosen.left + EPSILON
      && box.left + box.width >= chosen.left + chosen.width - EPSILON;
    const inside = box.depth >= chosen.depth && box.left >= chosen.left - EPSILON
      && box.left + box.width <= chosen.left + chosen.width + EPSILON;
    box.node.style.display = above || inside ? "" : "none";
    box.node.style.left = above ? "0%" : `${((box.left - chosen.left) / chosen.width) * 100}%`;
    box.node.style.width = above ? "100%" : `${(box.width / chosen.width) * 100}%`;
  }
}
for (const box of boxes) {
  box.node.addEventListener("click", () => zoom(box));
  box.node.addEventListener("keydown", (event) => { if (event.key === "Enter") zoom(box); });
}
