// What a mark stands for, beside it while it is pointed at or has the focus. `tips[n]` belongs to the n-th mark.

/** The marks that have a tip: links if there are any, else those with a name. Plot binds each to its row's number. */
const marksOf = (svg) => {
  const links = [...svg.querySelectorAll("a")];
  if (links.length) return links.map((link) => [link, link.firstElementChild]);
  return [...svg.querySelectorAll("g > [aria-label]:not(g)")].map((mark) => [mark, mark]);
};

export const tip = (figure, svg, tips) => {
  const box = document.createElement("div");
  box.className = "plot-tip";
  box.hidden = true;
  box.setAttribute("aria-hidden", "true"); // the mark's own label says the same
  svg.parentElement.append(box);
  const show = (mark, { title, rows }) => {
    const head = document.createElement("strong");
    head.textContent = title;
    const list = document.createElement("dl");
    for (const [name, value] of rows) {
      const term = document.createElement("dt"), detail = document.createElement("dd");
      term.textContent = name;
      detail.textContent = value;
      list.append(term, detail);
    }
    box.replaceChildren(head, list);
    box.hidden = false;
    const around = svg.parentElement.getBoundingClientRect(), at = mark.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - around.left - box.offsetWidth / 2, 0), Math.max(0, around.width - box.offsetWidth));
    const above = at.top - around.top - box.offsetHeight - 8;
    box.style.left = `${left}px`;
    box.style.top = `${above > -40 ? above : at.bottom - around.top + 8}px`;
  };
  const hide = () => { box.hidden = true; };
  for (const [target, mark] of marksOf(svg)) {
    const text = tips[mark.__data__];
    if (!text) continue;
    target.addEventListener("pointerenter", () => show(mark, text));
    target.addEventListener("pointerleave", hide);
    target.addEventListener("focus", () => show(mark, text));
    target.addEventListener("blur", hide);
  }
  svg.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
};
