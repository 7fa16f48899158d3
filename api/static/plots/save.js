// Saves a plot as SVG or PNG, and its rows as CSV. Nothing leaves the browser.

const SAVED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font-size", "font-weight", "font-variant", "text-anchor", "paint-order"];

/** A copy that stands alone: what the style sheets say is written into it. */
const alone = (svg) => {
  const copy = svg.cloneNode(true);
  const live = [svg, ...svg.querySelectorAll("*")], still = [copy, ...copy.querySelectorAll("*")];
  live.forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of SAVED) still[index].setAttribute(name, style.getPropertyValue(name));
    still[index].removeAttribute("class");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("font-family", "Helvetica, Arial, sans-serif");
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: getComputedStyle(svg.closest(".card, figure")).backgroundColor })) ground.setAttribute(name, value);
  if (ground.getAttribute("fill") === "rgba(0, 0, 0, 0)") ground.setAttribute("fill", getComputedStyle(document.documentElement).getPropertyValue("--card").trim());
  copy.prepend(ground);
  return new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
};

const picture = async (svg) => {
  const address = URL.createObjectURL(alone(svg));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 2 * svg.width.baseVal.value;
    canvas.height = 2 * svg.height.baseVal.value;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  } finally {
    URL.revokeObjectURL(address);
  }
};

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  // A name that a spreadsheet would compute is text to it.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const table = (rows) => new Blob([rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n"], { type: "text/csv" });

const save = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

/** The buttons in the head of the figure. */
export const tools = (figure, svg, rows) => {
  const name = figure.dataset.name || "plot", title = figure.getAttribute("aria-label");
  const kinds = { SVG: async () => alone(svg), PNG: () => picture(svg), CSV: async () => table(rows) };
  figure.querySelector(".plot-tools").replaceChildren(...Object.entries(kinds).map(([kind, make]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = kind;
    button.title = `Save “${title}” as ${kind}`;
    button.setAttribute("aria-label", button.title);
    button.addEventListener("click", async () => save(await make(), `${name}.${kind.toLowerCase()}`));
    return button;
  }));
};
