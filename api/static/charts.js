// Draws every `figure[data-plot]` from the JSON in its `data-plot-data`, again when that or its width changes.
// The library (Observable Plot on d3, in vendor/) is only loaded by pages that have a plot to draw.
import { bars } from "./plots/bars.js";
import { lines } from "./plots/lines.js";
import { pareto } from "./plots/pareto.js";
import { spread } from "./plots/spread.js";
import { tools } from "./plots/save.js";
import { tip } from "./plots/tip.js";

const KINDS = { pareto, bars, spread, lines };

const load = (file) => new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = new URL(file, import.meta.url);
  script.onload = resolve;
  script.onerror = () => reject(new Error(`${file} could not be loaded`));
  document.head.append(script);
});
let loaded;
const library = () => (loaded ??= load("vendor/d3.min.js").then(() => load("vendor/plot.min.js")));

const drawn = new WeakMap(); // figure → the text of its data and the width that it was drawn with

const draw = async (figure, width) => {
  const text = figure.dataset.plotData;
  const stamp = `${text}|${width}`;
  if (drawn.get(figure) === stamp || width < 50) return;
  drawn.set(figure, stamp);
  const canvas = figure.querySelector(".plot-canvas");
  try {
    await library();
  } catch {
    canvas.innerHTML = '<p class="quiet">The plot could not be loaded; the table has the same figures.</p>';
    return;
  }
  if (drawn.get(figure) !== stamp) return;
  const data = JSON.parse(text);
  // `legend` names its signs, `options` are Plot's, `points` are for the tip: one for each link or [data-tip] in order
  const { options, legend = [], tips = [], rows } = KINDS[figure.dataset.plot](data, width);
  const svg = window.Plot.plot({ width, ...options, marks: options.marks.flat().filter(Boolean) });
  svg.querySelector("style")?.remove(); // the policy of the page lets no style in but its files: see plots.css
  for (const layer of svg.querySelectorAll("g[aria-label]:not([role])")) layer.removeAttribute("aria-label"); // names of layers ("rule"), which tell nobody anything
  name(svg);
  svg.classList.add("plot-svg");
  svg.setAttribute("role", "group");
  svg.setAttribute("aria-label", `${figure.getAttribute("aria-label")}: a plot; the table has the same figures`);
  const focused = links(canvas).indexOf(document.activeElement);
  canvas.replaceChildren(svg, ...legendOf(legend));
  tip(figure, svg, tips);
  tools(figure, svg, rows);
  links(canvas)[focused]?.focus({ preventScroll: true }); // who stood on a dot stands on it when it is drawn again
};

const links = (canvas) => [...canvas.querySelectorAll("svg.plot-svg a")];

/** Plot labels its groups ("x-axis tick") and its marks; only what stands for a row is worth a name, and needs a role. */
const name = (svg) => {
  for (const group of svg.querySelectorAll("g[aria-label]")) group.removeAttribute("aria-label");
  for (const mark of svg.querySelectorAll("[aria-label]")) {
    const link = mark.closest("a");
    if (link) {
      link.setAttribute("aria-label", mark.getAttribute("aria-label"));
      mark.removeAttribute("aria-label");
    } else mark.setAttribute("role", "img");
  }
};

const legendOf = (entries) => {
  if (!entries.length) return [];
  const list = document.createElement("ul");
  list.className = "plot-legend";
  for (const { sign, kind, text } of entries) {
    const item = document.createElement("li");
    const mark = document.createElement("span");
    mark.className = `kind-${kind}`;
    mark.textContent = sign;
    mark.setAttribute("aria-hidden", "true");
    item.append(mark, ` ${text}`);
    list.append(item);
  }
  return [list];
};

const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) draw(target.closest("figure"), Math.floor(contentRect.width));
});

const look = () => {
  for (const figure of document.querySelectorAll("figure[data-plot]")) {
    const canvas = figure.querySelector(".plot-canvas");
    sizes.observe(canvas);
    if (drawn.has(figure)) draw(figure, Math.floor(canvas.getBoundingClientRect().width));
  }
};
document.addEventListener("burnish:changed", look);
look();
