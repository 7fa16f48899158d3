// What a JSON schema says of one setting, as a form needs it.

const deref = (schema, root) => {
  let found = schema ?? {};
  while (found.$ref) {
    const { $ref, ...beside } = found;
    found = { ...$ref.slice(2).split("/").reduce((at, part) => at?.[part], root), ...beside };
  }
  return found;
};

// → {kind: "choice" | "check" | "number" | "quantity" | "text" | "data", nullable, fallback, help, choices, low, high, step, example}
export const described = (schema, root) => {
  const whole = deref(schema, root);
  const branches = (whole.anyOf ?? whole.oneOf ?? [whole]).map((each) => deref(each, root));
  const rest = branches.filter((each) => each.type !== "null");
  const found = {
    nullable: rest.length < branches.length,
    fallback: whole.default,
    help: whole.description ?? rest.find((each) => each.description)?.description ?? "",
    example: whole.examples?.[0] ?? rest.flatMap((each) => each.examples ?? [])[0] ?? flatExamples(rest, root)[0],
  };
  const choices = rest.flatMap((each) => each.enum ?? ("const" in each ? [each.const] : [undefined]));
  if (choices.length && !choices.includes(undefined)) return { ...found, kind: "choice", choices };
  const types = new Set(rest.flatMap((each) => typesOf(each, root)));
  if (types.size === 1 && types.has("boolean")) return { ...found, kind: "check" };
  const numbers = types.has("number") || types.has("integer");
  if (numbers && types.has("string")) return { ...found, kind: "quantity" };
  if (numbers && [...types].every((type) => type === "number" || type === "integer")) {
    const only = rest.find((each) => each.type === "number" || each.type === "integer") ?? {};
    return {
      ...found, kind: "number", low: only.minimum, high: only.maximum, over: only.exclusiveMinimum, under: only.exclusiveMaximum,
      step: types.has("number") ? "any" : 1,
    };
  }
  if (types.size === 1 && types.has("string")) return { ...found, kind: "text" };
  return { ...found, kind: "data" };
};

const nested = (schema, root) => (schema.anyOf ?? schema.oneOf ?? []).map((each) => deref(each, root));
const typesOf = (schema, root) => {
  const inner = nested(schema, root);
  return inner.length ? inner.flatMap((each) => typesOf(each, root)) : [schema.type ?? "any"].flat();
};
const flatExamples = (branches, root) => branches.flatMap((each) => nested(each, root)).flatMap((each) => each.examples ?? []);

// The bounds in words, since a browser tells them only when they are broken.
export const bounds = ({ kind, low, high, over, under, example }) => {
  if (kind === "quantity" || kind === "text") return example ? `Like ${example}.` : "";
  if (kind !== "number") return "";
  const from = low ?? over, to = high ?? under;
  const least = low !== undefined ? `at least ${low}` : over !== undefined ? `more than ${over}` : "";
  const most = high !== undefined ? `at most ${high}` : under !== undefined ? `less than ${under}` : "";
  if (from === undefined && to === undefined) return "";
  const text = [least, most].filter(Boolean).join(", ");
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
};

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
