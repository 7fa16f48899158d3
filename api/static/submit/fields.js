// One labelled control per setting, made from its schema. A control at its default leaves the recipe short: the
// setting is not written. `set(undefined)` takes it out.
import { bounds, described, same } from "./schema.js";

export const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

const idOf = (at) => `f${at.replace(/[^A-Za-z0-9_-]/g, "-")}`;

// at: JSON pointer of the setting. value: what the recipe says, undefined if nothing. set(value): told of each change.
export const field = ({ name, at, schema, root, value, set, devices }) => {
  const what = described(schema, root);
  const id = idOf(at);
  const { control, write } = controlOf(what, id, set, name === "device" ? devices : undefined);
  write(value === undefined ? what.fallback : value);
  const help = element("p", { class: "help", id: `${id}-help` });
  prose(help, [what.help, bounds(what)].filter(Boolean).join(" "));
  control.setAttribute("aria-describedby", `${id}-help`);
  const label = element("label", { for: id }, name.replaceAll("_", " "));
  const box = element("div", { class: "field", "data-at": at });
  if (what.kind === "check") {
    box.classList.add("check-field");
    box.append(control, label, help);
  } else {
    box.append(label, control, help);
  }
  return box;
};

// `code` in a schema's description
const prose = (into, text) => {
  text.split(/`([^`]+)`/).forEach((part, index) => into.append(index % 2 ? element("code", {}, part) : part));
};

const controlOf = (what, id, set, offered) => {
  const settle = (value) => set(same(value, what.fallback) ? undefined : value);
  if (offered) return deviceControl(what, id, settle, offered);
  if (what.kind === "choice") return choiceControl(what, id, settle);
  if (what.kind === "check") {
    const control = element("input", { type: "checkbox", id });
    control.addEventListener("change", () => settle(control.checked));
    return { control, write: (value) => { control.checked = value === true; } };
  }
  if (what.kind === "number") return numberControl(what, id, settle);
  return textControl(what, id, settle);
};

const choiceControl = (what, id, settle) => {
  const options = what.nullable ? [null, ...what.choices] : what.choices;
  const control = element("select", { id });
  options.forEach((each, index) => {
    const word = each === null ? "none" : String(each);
    control.append(element("option", { value: String(index) }, same(each, what.fallback) ? `${word} (default)` : word));
  });
  control.addEventListener("change", () => settle(options[Number(control.value)]));
  const write = (value) => {
    const index = options.findIndex((each) => same(each, value ?? null) || same(each, value));
    if (index >= 0) control.value = String(index);
    else { // something that the schema does not know: shown as it is, so that it is not lost by being looked at
      options.push(value);
      control.append(element("option", { value: String(options.length - 1) }, `${JSON.stringify(value)} (not known)`));
      control.value = String(options.length - 1);
    }
  };
  return { control, write };
};

const deviceControl = (what, id, settle, devices) => {
  const control = element("select", { id });
  const write = (value) => {
    const names = [...new Set([...devices, value])];
    control.replaceChildren(...names.map((each) => element("option", { value: each }, devices.includes(each) ? each : `${each} (no live worker)`)));
    control.value = value;
  };
  control.addEventListener("change", () => settle(control.value));
  return { control, write };
};

const numberControl = (what, id, settle) => {
  const control = element("input", { type: "number", id, min: what.low ?? what.over, max: what.high ?? what.under, step: what.step, inputmode: what.step === 1 ? "numeric" : "decimal" });
  const read = () => (control.value === "" ? (what.nullable ? null : undefined) : Number(control.value));
  control.addEventListener("input", () => { if (!control.validity.badInput) settle(read()); });
  return { control, write: (value) => { control.value = typeof value === "number" ? value : ""; } };
};

const textControl = (what, id, settle) => {
  const control = element("input", { type: "text", id, autocomplete: "off", spellcheck: "false", placeholder: what.kind === "quantity" ? what.example : undefined });
  const read = () => {
    const text = control.value.trim();
    if (text === "") return what.nullable ? null : undefined;
    if (what.kind === "quantity") return Number.isNaN(Number(text)) ? text : Number(text);
    if (what.kind === "text") return text;
    try { return JSON.parse(text); } catch { return text.includes(",") ? text.split(",").map((part) => part.trim()) : text; }
  };
  control.addEventListener("input", () => settle(read()));
  const write = (value) => {
    control.value = value === null || value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  };
  return { control, write };
};
