// Shows each fault at its field (the nearest one, if its place has none) and in a list beside the YAML.
import { element } from "./fields.js";

const nearest = (form, where) => {
  for (let at = where; ; at = at.slice(0, at.lastIndexOf("/"))) {
    const found = form.querySelector(`[data-at="${CSS.escape(at)}"]`);
    if (found || !at.includes("/")) return found;
  }
};

const controlOf = (box) => (box.classList.contains("field") ? box.querySelector("input, select, textarea") : null);

export const clear = (form) => {
  for (const old of form.querySelectorAll(".fault")) old.remove();
  for (const control of form.querySelectorAll("[aria-invalid]")) {
    control.removeAttribute("aria-invalid");
    const described = (control.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && !id.endsWith("-fault"));
    if (described.length) control.setAttribute("aria-describedby", described.join(" "));
    else control.removeAttribute("aria-describedby");
  }
};

export const show = (form, list, faults) => {
  clear(form);
  list.replaceChildren(...faults.map((fault) => {
    const box = nearest(form, fault.where);
    const control = box && atField(box, fault);
    const place = fault.line ? `Line ${fault.line}, ` : "";
    const name = element("code", {}, fault.where);
    const link = control ? element("a", { href: `#${control.id}` }, name) : name;
    if (control) link.addEventListener("click", (event) => { event.preventDefault(); control.focus(); });
    return element("li", {}, place, link, `: ${fault.message} `, element("span", { class: "cure" }, fault.cure));
  }));
};

const atField = (box, fault) => {
  const told = element("p", { class: "fault" }, `${fault.message} ${fault.cure}`);
  const control = controlOf(box);
  if (control) {
    told.id = `${control.id}-fault`;
    if (!document.getElementById(told.id)) {
      control.setAttribute("aria-invalid", "true");
      control.setAttribute("aria-describedby", `${control.getAttribute("aria-describedby") ?? ""} ${told.id}`.trim());
    } else told.removeAttribute("id");
    box.append(told);
  } else if (box.classList.contains("pass")) {
    box.querySelector(".pass-head").after(told);
  } else {
    box.before(told);
  }
  return control;
};
