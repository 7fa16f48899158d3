// Figures as people read them, the same as on the pages (api/formatting.py).

const significant = (value, digits = 3) => {
  const text = value.toPrecision(digits);
  return text.includes("e") ? String(Number(text)) : text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};
const scaled = (value, scales) => {
  const [factor, unit] = scales.find(([factor]) => Math.abs(value) >= factor) ?? scales.at(-1);
  return `${significant(value / factor)} ${unit}`;
};

const FORMATS = {
  seconds: (value) => (value === 0 ? "0" : scaled(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]])),
  bytes: (value) => (value === 0 ? "0" : scaled(value, [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]])),
  share: (value) => `${significant(100 * value, 4)} %`,
  points: (value) => `${(100 * value).toFixed(2)} %`.replace("-", "−"),
  times: (value) => `${significant(value)}×`,
  decibel: (value) => `${significant(value)} dB`,
  number: (value) => value.toLocaleString("en"),
};

/** The figure with its unit; `unit` is one of seconds, bytes, share, points, times, decibel, number. */
export const format = (value, unit) => (value === null || value === undefined ? "–" : (FORMATS[unit] ?? String)(value));

/** The same with its interval. */
export const withInterval = (value, low, high, unit) =>
  low === undefined || low === null ? format(value, unit) : `${format(value, unit)} [${format(low, unit)}, ${format(high, unit)}]`;

/** The names as they fit into `most` characters each: without the beginning that all share, then without their middle. */
export const shorten = (names, most) => {
  let shared = 0;
  if (names.length > 1 && names.some((name) => name.length > most)) {
    const [first, ...others] = names;
    for (let at = 1; at < first.length; at += 1) {
      if (!others.every((name) => name.length > at && name.startsWith(first.slice(0, at)))) break;
      if (".@/+".includes(first[at - 1])) shared = at;
    }
  }
  return names.map((name) => {
    const rest = shared ? `…${name.slice(shared)}` : name;
    if (rest.length <= most) return rest;
    const head = Math.ceil((most - 1) / 3); // names differ in their ends more often than in their beginnings
    return `${rest.slice(0, head)}…${rest.slice(rest.length - (most - 1 - head))}`;
  });
};

/** A fill and a sign for each kind of thing: colour is never the only difference. */
export const KIND = {
  chosen: { fill: "var(--good)", symbol: "star", sign: "★" },
  original: { fill: "var(--ink)", symbol: "square", sign: "■" },
  other: { fill: "var(--series-1)", symbol: "circle", sign: "●" },
};
export const SERIES = [
  { fill: "var(--series-1)", symbol: "circle", sign: "●" },
  { fill: "var(--series-2)", symbol: "triangle", sign: "▲" },
  { fill: "var(--series-3)", symbol: "diamond", sign: "◆" },
  { fill: "var(--series-4)", symbol: "square", sign: "■" },
  { fill: "var(--series-5)", symbol: "star", sign: "★" },
];
