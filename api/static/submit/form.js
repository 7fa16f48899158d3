// The recipe as a form. It holds the document (plain data, as YAML would say it) and tells of each change.
import { element, field } from "./fields.js";
import { same } from "./schema.js";

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const nameOf = (entry) => (isObject(entry) ? Object.keys(entry)[0] : String(entry));
const settingsOf = (entry) => (isObject(entry) && isObject(Object.values(entry)[0]) ? Object.values(entry)[0] : {});

export class RecipeForm {
  // schema: of recipes. passes: name → {summary, settings}. devices: those served. changed(document). tell(text).
  constructor({ schema, passes, devices, changed, tell }) {
    Object.assign(this, { schema, passes, devices, changed, tell, document: {} });
    this.list = document.getElementById("passes");
    const add = document.getElementById("add-pass");
    const help = document.getElementById("add-pass-help");
    add.append(...[...passes.keys()].map((name) => element("option", { value: name }, name)));
    const explain = () => { help.textContent = passes.get(add.value)?.summary ?? ""; };
    add.addEventListener("change", explain);
    explain();
    document.getElementById("add-pass-button").addEventListener("click", () => this.add(add.value));
  }

  // Shows a document that came from elsewhere.
  show(recipe) {
    this.document = isObject(recipe) ? structuredClone(recipe) : {};
    this.section("goal");
    this.section("target");
    this.rest();
    this.drawPasses();
  }

  section(name) {
    const box = document.getElementById(name);
    const schema = this.resolved(this.schema.properties[name]);
    box.replaceChildren(...Object.entries(schema.properties).map(([key, each]) => field({
      name: key, at: `/${name}/${key}`, schema: each, root: this.schema, devices: this.devices,
      value: isObject(this.document[name]) ? this.document[name][key] : undefined,
      set: (value) => this.set([name], key, value),
    })));
  }

  // What of a recipe is neither goal, target nor passes: the seed.
  rest() {
    const box = document.getElementById("more");
    for (const [key, each] of Object.entries(this.schema.properties)) {
      if (["goal", "target", "passes"].includes(key)) continue;
      box.querySelector(`:scope > [data-at="/${key}"]`)?.remove();
      box.append(field({
        name: key, at: `/${key}`, schema: each, root: this.schema, value: this.document[key],
        set: (value) => this.set([], key, value),
      }));
    }
  }

  resolved(schema) {
    return schema.$ref ? schema.$ref.slice(2).split("/").reduce((at, part) => at[part], this.schema) : schema;
  }

  // Sets or, with undefined, takes out one key of the object at `path`, and tells.
  set(path, key, value) {
    let at = this.document;
    for (const part of path) {
      if (!isObject(at[part])) at[part] = {};
      at = at[part];
    }
    if (value === undefined) delete at[key];
    else at[key] = value;
    for (const part of path) if (same(this.document[part], {})) delete this.document[part];
    this.changed(this.document);
  }

  entries() {
    return Array.isArray(this.document.passes) ? this.document.passes : [];
  }

  put(entries) {
    if (entries.length) this.document.passes = entries;
    else delete this.document.passes;
    this.drawPasses();
    this.changed(this.document);
  }

  add(name) {
    this.put([...this.entries(), { [name]: {} }]);
    const last = this.list.lastElementChild;
    (last.querySelector("input, select") ?? last.querySelector("button")).focus();
    this.tell(`${name} added as pass ${this.entries().length}.`);
  }

  remove(index) {
    const entries = this.entries();
    this.put(entries.filter((_, each) => each !== index));
    const next = this.list.children[Math.min(index, this.list.children.length - 1)];
    (next?.querySelector(".remove") ?? document.getElementById("add-pass")).focus();
    this.tell(`${nameOf(entries[index])} removed.`);
  }

  move(index, by) {
    const entries = [...this.entries()];
    const [moved] = entries.splice(index, 1);
    entries.splice(index + by, 0, moved);
    this.put(entries);
    const item = this.list.children[index + by];
    const button = item.querySelector(by < 0 ? ".up" : ".down");
    (button.disabled ? item.querySelector(by < 0 ? ".down" : ".up") : button).focus();
    this.tell(`${nameOf(moved)} is now pass ${index + by + 1} of ${entries.length}.`);
  }

  drawPasses() {
    const entries = this.entries();
    document.getElementById("passes-empty").hidden = entries.length > 0;
    this.list.hidden = entries.length === 0;
    this.list.replaceChildren(...entries.map((entry, index) => this.item(entry, index, entries.length)));
  }

  item(entry, index, count) {
    const name = nameOf(entry);
    const known = this.passes.get(name);
    const at = `/passes/${index}`;
    const button = (kind, text, label, disabled, act) => {
      const made = element("button", { type: "button", class: `small ${kind}`, "aria-label": label, disabled }, text);
      made.addEventListener("click", act);
      return made;
    };
    const head = element("div", { class: "pass-head" }, element("h3", {}, name), element("div", { class: "actions" },
      button("up", "Up", `Move ${name} up`, index === 0, () => this.move(index, -1)),
      button("down", "Down", `Move ${name} down`, index === count - 1, () => this.move(index, 1)),
      button("remove", "Remove", `Remove ${name}`, false, () => this.remove(index)),
    ));
    const settings = element("div", { class: "fields" }, ...Object.entries(known?.settings.properties ?? {}).map(([key, each]) => field({
      name: key, at: `${at}/${name}/${key}`, schema: each, root: known.settings, value: settingsOf(entry)[key],
      set: (value) => this.setting(index, name, key, value),
    })));
    return element("li", { class: "pass", "data-at": at }, head, element("p", { class: "help" }, known?.summary ?? "There is no such pass."), settings);
  }

  setting(index, name, key, value) {
    const entries = this.entries();
    const settings = { ...settingsOf(entries[index]) };
    if (value === undefined) delete settings[key];
    else settings[key] = value;
    entries[index] = { [name]: settings };
    this.changed(this.document);
  }
}

// A recipe with all its defaults written out (as a job keeps it) without them.
export const shortened = (recipe, schema, passes) => {
  const resolve = (each) => (each?.$ref ? each.$ref.slice(2).split("/").reduce((at, part) => at[part], schema) : each);
  const isDefault = (value, property = {}) => ("default" in property ? same(value, property.default) : value === null || same(value, {}) || same(value, []));
  const strip = (value, properties) => Object.fromEntries(
    Object.entries(value ?? {}).filter(([key, each]) => !isDefault(each, properties?.[key])),
  );
  const found = strip(recipe, schema.properties);
  for (const name of ["goal", "target"]) {
    found[name] = strip(recipe[name], resolve(schema.properties[name]).properties);
    if (same(found[name], {})) delete found[name];
  }
  const entries = (recipe.passes ?? []).map((entry) => {
    const name = nameOf(entry);
    return { [name]: strip(settingsOf(entry), passes.get(name)?.settings.properties) };
  });
  if (entries.length) found.passes = entries;
  else delete found.passes;
  return found;
};
