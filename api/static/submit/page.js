// The submit page: form and YAML kept in step through the API, which also says what is wrong while it is typed.
import { show as showFaults } from "./faults.js";
import { RecipeForm, shortened } from "./form.js";
import { sources } from "./sources.js";

const form = document.getElementById("submit");
const yaml = document.getElementById("yaml");
const note = document.getElementById("yaml-note");
const verdict = document.getElementById("verdict");
const list = document.getElementById("faults");
const send = document.getElementById("send");
const files = { model: document.getElementById("model"), dataset: document.getElementById("dataset") };
const tell = (text) => { document.getElementById("told").textContent = text; };
const WAIT = 250;

const state = (text, kind = "") => {
  verdict.className = `check ${kind}`;
  if (verdict.textContent !== text) verdict.textContent = text;
};

const json = async (address, options = {}) => {
  const answer = await fetch(address, { headers: { Accept: "application/json", ...(options.body ? { "Content-Type": "application/json" } : {}), ...options.headers }, ...options });
  if (answer.status === 401) location.reload();
  return { answer, document: await answer.json() };
};

const chosen = () => ({ model: files.model.value || null, dataset: files.dataset.value || null });
const question = (part) => JSON.stringify({ ...part, ...chosen() });
let recipe = {}; // the last that could be read
let readable = true;
let timer, latest = 0;

// Asks for faults. `from` is who changed: "form" writes the YAML anew, "yaml" the form, "files" neither.
const check = (from, wait = WAIT) => {
  clearTimeout(timer);
  const turn = ++latest;
  timer = setTimeout(() => ask(from, turn), wait);
};

const ask = async (from, turn) => {
  const part = from === "yaml" || (from === "files" && !readable) ? { yaml: yaml.value } : { recipe };
  try {
    const { answer, document: told } = await json("/v1/recipes/check", { method: "POST", body: question(part) });
    if (turn !== latest) return; // something was typed meanwhile, and is asked about on its own
    if (!answer.ok) return state(`${told.detail} ${told.cure}`, "bad");
    if (from === "form") yaml.value = told.yaml;
    readable = told.recipe !== null || from !== "yaml";
    if (from === "yaml" && readable) {
      recipe = told.recipe;
      recipeForm.show(recipe);
    }
    note.textContent = readable ? "Kept in step with the form." : "The form shows what could be read last.";
    showFaults(form, list, told.faults);
    summary(told.faults);
  } catch {
    if (turn !== latest) return;
    state("The server does not answer. Trying again.", "bad");
    check(from, 2000);
  }
};

const summary = (faults) => {
  const missing = ["model", "dataset"].filter((name) => !files[name].value);
  if (faults.length) state(faults.length === 1 ? "One fault:" : `${faults.length} faults:`, "bad");
  else if (missing.length) state(`The recipe is sound. Choose a ${missing.join(" and a ")}.`);
  else state("✓ Sound: ready to submit.", "good");
};

const submit = async (event) => {
  event.preventDefault();
  const missing = ["model", "dataset"].find((name) => !files[name].value);
  if (missing) {
    showFaults(form, list, [{ where: `/${missing}`, message: `There is no ${missing} yet.`, cure: "Choose one, or upload a file." }]);
    state("One fault:", "bad");
    return files[missing].focus();
  }
  if (!readable) return yaml.focus();
  send.disabled = true;
  state("Submitting …");
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const priority = form.priority.value === "" ? 5 : Number(form.priority.value);
  try {
    const { answer, document: told } = await json("/v1/jobs", {
      method: "POST", headers: { "Idempotency-Key": key, "Content-Type": "application/json" }, body: JSON.stringify({ ...chosen(), recipe, priority }),
    });
    if (answer.ok) return location.assign(told.links.html);
    const faults = (told.faults ?? []).map((fault) => ({ ...fault, where: fault.where.replace(/^\/recipe/, "") || "/" }));
    showFaults(form, list, faults);
    state(faults.length ? `${faults.length} fault${faults.length > 1 ? "s" : ""}:` : `${told.detail} ${told.cure}`, "bad");
    form.querySelector("[aria-invalid]")?.focus();
  } catch {
    state("The server did not answer, so it is not known whether the job was taken. Look at the list of jobs, or submit again.", "bad");
  }
  send.disabled = false;
};

let recipeForm;
const begin = async () => {
  const [{ document: schema }, { document: catalogue }] = await Promise.all([json("/v1/recipes/schema"), json("/v1/passes")]);
  const passes = new Map(catalogue.items.filter((item) => item.kind === "pass").map((item) => [item.name, item]));
  recipeForm = new RecipeForm({
    schema, passes, devices: JSON.parse(form.getAttribute("data-devices")), tell,
    changed: (changed) => { recipe = changed; readable = true; check("form"); },
  });
  recipe = shortened(JSON.parse(form.getAttribute("data-recipe")), schema, passes);
  recipeForm.show(recipe);
  recipe = recipeForm.document;
  check("form", 0);
  yaml.addEventListener("input", () => check("yaml"));
  for (const control of Object.values(files)) control.addEventListener("change", () => check("files", 0));
  form.addEventListener("submit", submit);
  form.setAttribute("data-ready", ""); // not `form.dataset`: the form has a field of that name
};

sources(form, () => check("files", 0));
begin().catch(() => state("The form could not be made: the server does not answer. Reload the page.", "bad"));
