// Keeps #live current: asks for its fragment with the ETag at hand, and only touches what changed in it.
// `Retry-After` on the answer means that more changes are near; a hidden page asks rarely, and at once when it is seen.
import { morph } from "./morph.js";

const SOON = 800, LATER = 5000, HIDDEN = 15000, TRY_AGAIN = 2000;

const live = document.getElementById("live");
const away = document.getElementById("away");
let etag = live.dataset.etag;
let every = Number(live.dataset.every);
let timer, since, asking = false;

const reachable = (yes) => {
  live.classList.toggle("stale", !yes);
  if (yes) since = undefined;
  else since ??= new Date();
  if (away.hidden !== yes) away.hidden = yes;
  const text = yes ? "" : `The server has not answered since ${since.toLocaleTimeString()}. What you see is from then; trying again.`;
  if (away.textContent !== text) away.textContent = text;
};

const show = async (answer) => {
  etag = answer.headers.get("ETag") ?? "";
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  morph(live, fresh.content);
  document.title = live.querySelector("[data-title]")?.dataset.title ?? document.title;
  document.dispatchEvent(new CustomEvent("burnish:changed"));
};

const ask = async () => {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  let wait = TRY_AGAIN;
  try {
    const answer = await fetch(live.dataset.from, {
      headers: { "If-None-Match": etag }, cache: "no-store", redirect: "manual", signal: AbortSignal.timeout(10000),
    });
    if (answer.status === 401 || answer.type === "opaqueredirect") return location.reload();
    if (answer.status === 200) {
      every = answer.headers.has("Retry-After") ? SOON : LATER;
      await show(answer);
    }
    if (answer.status < 500) wait = every;
    reachable(answer.status < 500);
  } catch {
    reachable(false);
  } finally {
    asking = false;
    timer = setTimeout(ask, document.hidden ? HIDDEN : wait);
  }
};

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
document.addEventListener("burnish:ask", ask);
timer = setTimeout(ask, every);

// What goes on counts on by itself, so that a second more is no change for the server to send.
const clocks = () => {
  for (const time of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dataset.since)) / 1000);
    const text = seconds < 60 ? `${Math.floor(seconds)} s`
      : seconds < 3600 ? `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
      : `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
    if (time.textContent !== text) time.textContent = text;
  }
};
setInterval(clocks, 1000);
