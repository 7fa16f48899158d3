// One bar per row, the name before it and the figure behind it.
//
// data: { rows: [{ name, value, low, high, kind: chosen|original|other, href, rows: [[k, v]] }], unit, label, zero: 1 }
// `zero`: where bars begin (1 for ratios); 0 if it is not given.
import { format, KIND, shorten, withInterval } from "./format.js";

export const bars = (data, width) => {
  const Plot = window.Plot;
  const { rows, unit, label, zero = 0 } = data;
  const room = Math.min(260, Math.max(90, width * 0.34));
  const names = shorten(rows.map((row) => row.name), Math.floor(room / 7));
  const fill = (row) => KIND[row.kind ?? "other"].fill;
  const keys = rows.map((_, index) => index); // names may come twice
  return {
    options: {
      height: 34 + rows.length * 24, marginLeft: room, marginRight: 64, marginTop: 20, marginBottom: 10,
      x: { label: null, axis: "top", tickFormat: (v) => format(v, unit), ticks: Math.max(2, Math.round((width - room) / 110)), nice: true,
        domain: [Math.min(zero, ...rows.map((r) => r.low ?? r.value)), Math.max(zero, ...rows.map((r) => r.high ?? r.value))] },
      y: { domain: keys, label: null, tickFormat: (i) => names[i], tickSize: 0 },
      color: { type: "identity" },
      marks: [
        Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
        Plot.barX(keys, { x1: () => zero, x2: (i) => rows[i].value, y: (i) => i, fill: (i) => fill(rows[i]), fillOpacity: 0.85, insetTop: 3, insetBottom: 3, rx: 2, sort: null,
          href: (i) => rows[i].href ?? null, ariaLabel: (i) => `${rows[i].name}: ${format(rows[i].value, unit)}` }),
        Plot.ruleY(keys.filter((i) => rows[i].low !== undefined && rows[i].low !== null), { x1: (i) => rows[i].low, x2: (i) => rows[i].high, y: (i) => i, stroke: "var(--ink)" }),
        Plot.text(keys, { x: (i) => Math.max(rows[i].high ?? rows[i].value, zero), y: (i) => i, text: (i) => format(rows[i].value, unit), dx: 6, textAnchor: "start", fill: "var(--ink)" }),
        Plot.ruleX([zero], { stroke: "var(--line-strong)" }),
      ],
    },
    tips: rows.map((row) => ({ title: row.name, rows: [[label, withInterval(row.value, row.low, row.high, unit)], ...(row.rows ?? [])] })),
    rows: [["name", label, "low", "high"], ...rows.map((row) => [row.name, row.value, row.low, row.high])],
  };
};
