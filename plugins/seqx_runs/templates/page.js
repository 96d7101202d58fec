"use strict";
// Attention: a pressed, hovered or focused output token colours the source tokens by its weights.
for (const block of document.querySelectorAll(".attention")) {
  const layers = JSON.parse(block.dataset.weights);
  const source = [...block.querySelectorAll(".source li")];
  const buttons = [...block.querySelectorAll("button")];
  const select = block.querySelector("select");
  let current = 0;
  const show = index => {
    current = index;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", i === index));
    source.forEach((token, i) => token.style.setProperty("--w", layers[select ? select.selectedIndex : 0][index][i]));
  };
  buttons.forEach((button, i) => {
    for (const event of ["mouseenter", "focus", "click"]) button.addEventListener(event, () => show(i));
  });
  if (select) select.addEventListener("change", () => show(current));
  show(0);
}
