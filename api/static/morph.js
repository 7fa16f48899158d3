// Makes one tree like another by the fewest changes, so that focus, selection, open details, ticked boxes, scrolled
// places and drawn plots stay as they are.
//
// 1. Children with an `id` or a `data-key` are the same child wherever they stand; others go by their order and name.
// 2. What the person or a script did to an element is theirs: `open` of details, `checked` and `value` of fields, and
//    everything inside `data-keep`.

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset?.key || "" : "");
const THEIRS = { DETAILS: ["open"], INPUT: ["checked", "value"], OPTION: ["selected"] };

export const morph = (now, next) => {
  const keyed = new Map();
  for (const child of now.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = now.firstChild;
  for (const wanted of [...next.childNodes]) {
    const key = keyOf(wanted);
    let found = key ? keyed.get(key) : at && !keyOf(at) && at.nodeName === wanted.nodeName ? at : undefined;
    if (found && found.nodeName !== wanted.nodeName) found = undefined;
    if (!found) {
      now.insertBefore(wanted, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else now.insertBefore(found, at);
    update(found, wanted);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
};

const update = (now, next) => {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue;
    return;
  }
  if (now.hasAttribute("data-keep") || now.isEqualNode(next)) return;
  const theirs = THEIRS[now.nodeName] ?? [];
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !theirs.includes(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (!theirs.includes(name) && now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  if (now.hasAttribute("data-plot")) return; // charts.js draws it again from its data
  morph(now, next);
};
