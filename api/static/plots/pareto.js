// Time of a call against quality, with intervals; the size of a dot is that of its file.
//
// data: { points: [{ name, x, xlow, xhigh, y, ylow, yhigh, size, kind: chosen|original|other, series, href, rows: [[k, v]] }],
//         x: { label, unit }, y: { label, unit }, limits: { x, y }, series: [name, …] }
// With `series` (of a comparison) signs tell those apart instead of the kinds.
import { format, KIND, SERIES, withInterval } from "./format.js";

const frontier = (points) => {
  const found = [];
  for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y)) {
    if (!found.length || point.y > found.at(-1).y) found.push(point);
  }
  return found;
};

const BOUND = { fill: "var(--warn)", stroke: "var(--card)", strokeWidth: 3, paintOrder: "stroke" };

/** Names of the original and of the chosen, each on the side where there is room. */
const label = (points, where, textAnchor, dx) => window.Plot.text(points, {
  x: "x", y: "y", text: (p) => (p.kind === "chosen" ? "chosen" : p.name), dx, dy: -14, fill: "var(--ink)", textAnchor,
  filter: (p) => p.kind !== "other" && where(p), stroke: "var(--card)", strokeWidth: 3, paintOrder: "stroke",
});

export const pareto = (data, width) => {
  const Plot = window.Plot;
  const { x, y, limits = {}, series } = data;
  const order = ["other", "original", "chosen"]; // the last is drawn over the others
  const points = [...data.points].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
  const look = (point) => (series ? SERIES[series.indexOf(point.series) % SERIES.length] : KIND[point.kind]);
  const extremes = points.flatMap((p) => [p.ylow ?? p.y, p.yhigh ?? p.y]);
  const low = Math.min(...extremes), high = Math.max(...extremes);
  const room = Math.max((high - low) * 0.15, 0.002);
  const top = Math.max(...points.map((p) => p.xhigh ?? p.x)) * 1.08;
  const inside = (value, from, to) => value !== undefined && value !== null && value > from && value < to;
  const size = (point) => Math.max(1, point.size ?? 0); // the original has no file, and is there all the same
  const options = {
    height: Math.round(Math.min(420, Math.max(280, width * 0.5))),
    marginLeft: 62, marginBottom: 42, marginTop: 26, marginRight: 24,
    x: { domain: [0, top], label: `${x.label} →`, tickFormat: (v) => format(v, x.unit), ticks: Math.max(3, Math.round(width / 130)) },
    y: { domain: [low - room, high + room], label: `↑ ${y.label}`, tickFormat: (v) => (y.unit === "share" && v > 1.00001 ? "" : format(v, y.unit)), ticks: 6 },
    r: { domain: [0, Math.max(1, ...points.map(size))], range: [5.5, 13] },
    symbol: { type: "identity" },
    marks: [
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }), Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
      inside(limits.y, low - room, high + room) && Plot.ruleY([limits.y], { stroke: "var(--warn)", strokeDasharray: "5 4" }),
      inside(limits.x, 0, top) && Plot.ruleX([limits.x], { stroke: "var(--warn)", strokeDasharray: "5 4" }),
      Plot.line(frontier(points), { x: "x", y: "y", curve: "step-after", stroke: "var(--line-strong)", strokeWidth: 1.25, strokeDasharray: "2 3", ariaLabel: "best of all" }),
      Plot.ruleY(points, { x1: (p) => p.xlow ?? p.x, x2: (p) => p.xhigh ?? p.x, y: "y", stroke: (p) => look(p).fill, strokeOpacity: 0.7 }),
      Plot.ruleX(points, { y1: (p) => p.ylow ?? p.y, y2: (p) => p.yhigh ?? p.y, x: "x", stroke: (p) => look(p).fill, strokeOpacity: 0.7 }),
      Plot.dot(points, {
        x: "x", y: "y", r: size, symbol: (p) => look(p).symbol, fill: (p) => look(p).fill, fillOpacity: 0.82,
        stroke: "var(--card)", strokeWidth: 1.25, href: "href", sort: null,
        ariaLabel: (p) => `${p.name}: ${format(p.x, x.unit)}, ${format(p.y, y.unit)}`,
      }),
      inside(limits.y, low - room, high + room) && Plot.text([limits.y], { y: (d) => d, text: () => "limit of the drop", frameAnchor: "right", textAnchor: "end", dy: -7, ...BOUND }),
      inside(limits.x, 0, top) && Plot.text([limits.x], { x: (d) => d, text: () => "limit of the time", frameAnchor: "bottom", textAnchor: "start", dx: 5, dy: -6, ...BOUND }),
      ...(series ? [] : [label(points, (p) => p.x < top / 2, "start", 12), label(points, (p) => p.x >= top / 2, "end", -2)]),
    ],
    color: { type: "identity" },
  };
  const kinds = [["chosen", "chosen"], ["original", "the original"], ["other", "other candidates"]];
  return {
    options,
    legend: series
      ? series.map((name, i) => ({ sign: SERIES[i % SERIES.length].sign, kind: `series-${(i % SERIES.length) + 1}`, text: name }))
      : kinds.filter(([kind]) => points.some((p) => p.kind === kind)).map(([kind, text]) => ({ sign: KIND[kind].sign, kind, text })),
    tips: points.map((p) => ({
      title: series ? `${p.name} (${p.series})` : p.name,
      rows: [[x.label, withInterval(p.x, p.xlow, p.xhigh, x.unit)], [y.label, withInterval(p.y, p.ylow, p.yhigh, y.unit)],
        ...(p.size ? [["size", format(p.size, "bytes")]] : []), ...(p.rows ?? [])],
    })),
    rows: [["candidate", ...(series ? ["job"] : []), "seconds", "seconds_low", "seconds_high", "quality", "quality_low", "quality_high", "bytes"],
      ...points.map((p) => [p.name, ...(series ? [p.series] : []), p.x, p.xlow, p.xhigh, p.y, p.ylow, p.yhigh, p.size])],
  };
};
