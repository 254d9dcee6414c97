"use strict";
const unfold = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
for (const box of document.querySelectorAll("pre.console")) {
  const bad = box.querySelector("b");
  box.scrollTop = bad ? bad.offsetTop - box.offsetTop - 40 : box.scrollHeight;
}
const filter = document.getElementById("filter");
if (filter) {
  const cases = [...document.querySelectorAll(".case")].map((row) => [row, row.dataset.text.toLowerCase()]);
  filter.hidden = false;
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [row, text] of cases) row.hidden = !words.every((word) => text.includes(word));
    for (const group of document.querySelectorAll("#cases .test, #cases .suite")) {
      group.hidden = !group.querySelector(".case:not([hidden])");
      if (group.tagName === "DETAILS") group.open = words.length > 0;
    }
  });
  for (const link of document.querySelectorAll("[data-filter]")) {
    link.addEventListener("click", () => {
      filter.value = link.dataset.filter + ";";
      filter.dispatchEvent(new Event("input"));
    });
  }
}
