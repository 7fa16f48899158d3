// The two boxes of the submit page where a model and a dataset are chosen or uploaded.
import { element } from "./fields.js";
import { Upload } from "./upload.js";

const UNITS = [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]];
export const size = (bytes) => {
  const [unit, factor] = UNITS.find(([, each]) => bytes >= each) ?? ["B", 1];
  return `${unit === "B" ? bytes : (bytes / factor).toPrecision(3)} ${unit}`;
};

const labelOf = (made) => {
  const count = (number) => number.toLocaleString("en");
  return "signature" in made
    ? `${made.name}:${made.version} · ${count(made.signature.parameters)} parameters · ${size(made.size)}`
    : `${made.name} · ${count(made.samples)} samples${made.targets ? "" : ", no labels"} · ${size(made.size)}`;
};

export const sources = (form, chosen) => {
  for (const box of form.querySelectorAll(".source")) new Source(box, chosen);
};

class Source {
  constructor(box, chosen) {
    const part = (selector) => box.querySelector(selector);
    this.kind = box.dataset.kind;
    this.chosen = chosen;
    this.select = part("select");
    this.file = part("input[type=file]");
    this.box = part(".upload");
    this.name = part(".upload input[type=text]");
    this.bar = part("progress");
    this.state = part(".upload-state");
    this.aloud = part("[role=status]"); // what happens, but not each piece that arrives: the bar tells that
    this.buttons = { start: part(".start"), pause: part(".pause"), cancel: part(".cancel") };
    this.file.addEventListener("change", () => this.ready());
    this.name.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); this.start(); } });
    this.buttons.start.addEventListener("click", () => this.start());
    this.buttons.pause.addEventListener("click", () => this.pause());
    this.buttons.cancel.addEventListener("click", () => this.cancel());
  }

  ready() {
    const [file] = this.file.files;
    this.box.hidden = !file;
    if (!file) return;
    this.name.value = file.name.replace(/\.[^.]*$/, "").replace(/[:/\\]/g, "-").trim() || this.kind;
    this.bar.value = 0;
    this.say(`${file.name}, ${size(file.size)}`);
    this.running(false, "Upload");
  }

  async start() {
    const [file] = this.file.files;
    const name = this.name.value.trim();
    if (!file) return;
    if (!name) { this.say("Give it a name.", "bad"); this.name.focus(); return; }
    this.upload = new Upload(file, this.kind, name, {
      seen: (bytes) => { this.bar.value = file.size ? bytes / file.size : 1; if (!this.trouble) this.write(`${size(bytes)} of ${size(file.size)}`); },
      told: (text) => { this.trouble = text; if (text) this.say(text, ""); },
    });
    this.trouble = "";
    this.running(true);
    try {
      const made = await this.upload.run();
      if (made) this.done(made);
    } catch (error) {
      this.say(error.message, "bad");
      this.running(false, "Try again");
    }
  }

  done(made) {
    const label = labelOf(made);
    const option = [...this.select.options].find((each) => each.value === made.id) ?? element("option", { value: made.id });
    option.textContent = label;
    if (!option.parentNode) this.select.options[0].after(option);
    this.select.value = made.id;
    this.file.value = "";
    this.bar.value = 1;
    this.name.disabled = false;
    this.say(`✓ ${label}: uploaded, checked and chosen.`, "good");
    for (const button of Object.values(this.buttons)) button.hidden = true;
    this.name.closest(".field").hidden = true;
    this.select.focus();
    this.chosen();
  }

  pause() {
    this.upload.pause();
    this.say("Paused. What has arrived is kept for a day.");
    this.running(false, "Go on");
    this.buttons.start.focus();
  }

  async cancel() {
    await this.upload?.drop();
    this.upload = undefined;
    this.file.value = "";
    this.box.hidden = true;
    this.file.focus();
  }

  running(yes, word = "") {
    this.name.closest(".field").hidden = false;
    this.buttons.start.hidden = yes;
    this.buttons.cancel.hidden = false;
    if (word) this.buttons.start.textContent = word;
    this.buttons.pause.hidden = !yes;
    this.name.disabled = yes;
    if (yes) this.buttons.pause.focus();
  }

  say(text, kind = "") {
    this.write(text, kind);
    this.aloud.textContent = text;
  }

  write(text, kind = "") {
    this.state.className = `upload-state ${kind}`;
    if (this.state.textContent !== text) this.state.textContent = text;
  }
}
