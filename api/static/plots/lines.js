// One or more series over versions or time, with intervals.
//
// data: { points: [{ x, y, low, high, series, name, href, rows: [[k, v]] }], x: { label, unit: "version"|"time" },
//         y: { label, unit }, mark: x }
// `x` is a number, or with unit `time` an ISO time. `mark` is drawn as a dashed line (which version is in production).
import { format, SERIES, withInterval } from "./format.js";

export const lines = (data, width) => {
  const Plot = window.Plot;
  const timed = data.x.unit === "time";
  const points = data.points.map((p) => ({ ...p, x: timed ? new Date(p.x) : p.x }));
  const series = [...new Set(points.map((p) => p.series ?? ""))];
  const look = (name) => SERIES[series.indexOf(name ?? "") % SERIES.length];
  const shown = (value) => (timed ? value.toISOString().slice(0, 16).replace("T", " ") : `${data.x.label} ${value}`);
  const versions = [...new Set(points.map((p) => Number(p.x)))].sort((a, b) => a - b);
  return {
    options: {
      height: Math.round(Math.min(340, Math.max(220, width * 0.4))), marginLeft: 62, marginBottom: 42, marginTop: 26, marginRight: 24,
      x: timed ? { type: "utc", label: `${data.x.label} →` }
        : { label: `${data.x.label} →`, ticks: versions.filter((_, i) => i % Math.ceil(versions.length / Math.max(2, width / 60)) === 0), tickFormat: String,
          domain: [versions[0] - 0.4, versions.at(-1) + 0.4] },
      y: { label: `↑ ${data.y.label}`, tickFormat: (v) => format(v, data.y.unit), ticks: 5, nice: true, inset: 6 },
      color: { type: "identity" }, symbol: { type: "identity" },
      marks: [
        Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
        data.mark !== undefined && data.mark !== null && Plot.ruleX([timed ? new Date(data.mark) : data.mark], { stroke: "var(--good)", strokeDasharray: "4 4" }),
        Plot.line(points, { x: "x", y: "y", z: "series", stroke: (p) => look(p.series).fill, strokeWidth: 1.75 }),
        Plot.ruleX(points.filter((p) => p.low !== undefined && p.low !== null), { x: "x", y1: "low", y2: "high", stroke: (p) => look(p.series).fill }),
        Plot.dot(points, { x: "x", y: "y", fill: (p) => look(p.series).fill, symbol: (p) => look(p.series).symbol, r: 4.5, stroke: "var(--card)", href: "href", sort: null,
          ariaLabel: (p) => `${p.name ?? shown(p.x)}: ${format(p.y, data.y.unit)}` }),
      ],
    },
    legend: series.length > 1 ? series.map((name) => ({ sign: look(name).sign, kind: `series-${(series.indexOf(name) % SERIES.length) + 1}`, text: name })) : [],
    tips: points.map((p) => ({ title: p.name ?? shown(p.x), rows: [[p.series || data.y.label, withInterval(p.y, p.low, p.high, data.y.unit)], ...(p.rows ?? [])] })),
    rows: [[data.x.label, "series", data.y.label, "low", "high"], ...points.map((p) => [timed ? p.x.toISOString() : p.x, p.series ?? "", p.y, p.low, p.high])],
  };
};
