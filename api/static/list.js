// Selecting jobs of the list: all of them, a range with the shift key; what can be done with them is offered, else not.
const form = () => document.getElementById("several");
const boxes = () => [...document.querySelectorAll('input[name="job"]')];
let last;

const all = () => {
  const place = document.getElementById("all");
  if (!place || place.querySelector("input")) return place?.querySelector("input");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.setAttribute("aria-label", "Select all jobs of this page");
  box.addEventListener("change", () => {
    for (const each of boxes()) each.checked = box.checked;
    tell();
  });
  place.replaceChildren(box);
  return box;
};

const tell = () => {
  const every = all();
  if (!every) return;
  const ticked = boxes().filter((box) => box.checked);
  every.checked = ticked.length > 0 && ticked.length === boxes().length;
  every.indeterminate = ticked.length > 0 && !every.checked;
  const count = document.getElementById("several-count");
  const text = ticked.length ? `${ticked.length} selected:` : "Select jobs to cancel, retry or compare them.";
  if (count.textContent !== text) count.textContent = text;
  for (const button of form().querySelectorAll("button")) {
    const fit = ticked.filter((box) => button.dataset.for.split(" ").includes(box.dataset.state)).length;
    button.disabled = fit < Number(button.dataset.least ?? 1);
    button.hidden = ticked.length === 0;
  }
};

document.addEventListener("click", (event) => {
  if (!event.target.matches?.('input[name="job"]')) return;
  const list = boxes(), at = list.indexOf(event.target), from = list.indexOf(last);
  if (event.shiftKey && from >= 0) {
    for (const box of list.slice(Math.min(at, from), Math.max(at, from) + 1)) box.checked = event.target.checked;
  }
  last = event.target;
  tell();
});
document.addEventListener("burnish:changed", tell);
tell();
