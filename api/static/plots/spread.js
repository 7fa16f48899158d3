// Distributions side by side: a box from the 25 % to the 75 % quantile, whiskers to 5 % and 95 %, a line at the median.
//
// data: { rows: [{ name, median, low, high, quantiles: { "0.05": seconds, … }, p95, kind, href }], unit, label }
// Without quantiles (results of older versions) it is the median's interval and the 95 % quantile.
import { format, KIND, shorten, withInterval } from "./format.js";

export const spread = (data, width) => {
  const Plot = window.Plot;
  const { rows, unit, label } = data;
  const room = Math.min(260, Math.max(90, width * 0.34));
  const names = shorten(rows.map((row) => row.name), Math.floor(room / 7));
  const keys = rows.map((_, index) => index);
  const at = (i, share) => rows[i].quantiles?.[share];
  const boxed = keys.filter((i) => at(i, "0.25") !== undefined);
  const fill = (i) => KIND[rows[i].kind ?? "other"].fill;
  const least = (i) => at(i, "0.05") ?? rows[i].low, most = (i) => at(i, "0.99") ?? rows[i].p95 ?? rows[i].high;
  return {
    options: {
      height: 34 + rows.length * 30, marginLeft: room, marginRight: 24, marginTop: 20, marginBottom: 10,
      x: { label: null, axis: "top", tickFormat: (v) => format(v, unit), ticks: Math.max(2, Math.round((width - room) / 110)),
        domain: [0, Math.max(...keys.map(most)) * 1.04] },
      y: { domain: keys, label: null, tickFormat: (i) => names[i], tickSize: 0 },
      color: { type: "identity" },
      marks: [
        Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
        Plot.ruleY(keys, { x1: least, x2: (i) => at(i, "0.95") ?? rows[i].p95, y: (i) => i, stroke: fill, strokeWidth: 1.5 }),
        Plot.barX(boxed, { x1: (i) => at(i, "0.25"), x2: (i) => at(i, "0.75"), y: (i) => i, fill, fillOpacity: 0.45, stroke: fill, insetTop: 7, insetBottom: 7 }),
        Plot.tickX(keys, { x: (i) => rows[i].median, y: (i) => i, stroke: "var(--ink)", strokeWidth: 2.5, insetTop: 5, insetBottom: 5 }),
        Plot.dot(boxed, { x: (i) => at(i, "0.99"), y: (i) => i, fill, r: 2.5 }),
        Plot.barX(keys, { x1: () => 0, x2: () => Math.max(...keys.map(most)) * 1.04, y: (i) => i, fill: "transparent", sort: null,
          href: (i) => rows[i].href ?? null, ariaLabel: (i) => `${rows[i].name}: median ${format(rows[i].median, unit)}, 95 % within ${format(rows[i].p95, unit)}` }),
      ],
    },
    tips: rows.map((row) => ({ title: row.name, rows: [
      ["median", withInterval(row.median, row.low, row.high, unit)], ["95 % within", format(row.p95, unit)],
      ...(row.quantiles?.["0.99"] === undefined ? [] : [["99 % within", format(row.quantiles["0.99"], unit)]]), ...(row.rows ?? [])] })),
    rows: [["name", "median", "low", "high", "p95", ...Object.keys(rows[0]?.quantiles ?? {}).map((share) => `q${share}`)],
      ...rows.map((row) => [row.name, row.median, row.low, row.high, row.p95, ...Object.values(row.quantiles ?? {})])],
  };
};
