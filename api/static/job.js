// A job's page beside its live part: the log that grows, the filter of the layers, buttons that copy.

// Every change of a job is an event, so the log has grown exactly when the live part has.
const log = () => document.getElementById("log");
const MOST = 2000; // lines that are kept
let paused = false, fetching = false, again = false;

const grow = async () => {
  if (paused) return;
  if (fetching) { again = true; return; }
  fetching = true;
  try {
    const list = log().querySelector("ol");
    const after = list.querySelector("li[data-id]:last-child")?.dataset.id ?? 0;
    const answer = await fetch(`${log().dataset.from}?after=${after}`);
    if (!answer.ok) return;
    const html = await answer.text();
    if (!html.includes("data-id")) return;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.querySelector("li:not([data-id])")?.remove();
    list.insertAdjacentHTML("beforeend", html.trim());
    while (list.childElementCount > MOST) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  } catch {
    // The live part says that the server is away, and comes back here with its next change.
  } finally {
    fetching = false;
    if (again) { again = false; grow(); }
  }
};

const pause = document.getElementById("log-pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  document.getElementById("log-state").textContent = paused ? "paused" : "";
  grow();
});

const filter = () => {
  for (const bar of document.querySelectorAll("[data-filter-for]")) {
    bar.hidden = false;
    const text = bar.querySelector("input").value.trim().toLowerCase(), kind = bar.querySelector("select").value;
    const rows = [...document.getElementById(bar.dataset.filterFor).rows];
    let shown = 0;
    for (const row of rows) {
      row.hidden = (kind && row.dataset.kind !== kind) || (text && !row.textContent.toLowerCase().includes(text));
      shown += !row.hidden;
    }
    bar.querySelector('[role="status"]').textContent = `${shown} of ${rows.length}`;
  }
};
document.addEventListener("input", (event) => { if (event.target.closest?.("[data-filter-for]")) filter(); });

const copies = () => {
  for (const place of document.querySelectorAll(".copy")) {
    if (place.querySelector("button")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = place.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // without the right to write the clipboard, it is at least selected
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    place.append(button);
  }
};

const all = () => { filter(); copies(); };
document.addEventListener("burnish:changed", () => { all(); grow(); });
all();
const list = log().querySelector("ol");
list.scrollTop = list.scrollHeight;

// A dot of a plot leads to its row; the focus goes along, so that a keyboard goes on from there.
document.addEventListener("click", (event) => {
  const target = event.target.closest?.(".plot-svg a")?.href.baseVal;
  if (target?.startsWith("#")) document.querySelector(target)?.focus();
});
