// Keeps #live current: asks for the fragment with the ETag at hand, and only redraws what changed.
"use strict";
(() => {
  const live = document.getElementById("live");
  let etag = live.dataset.etag;
  let every = Number(live.dataset.every);

  const openIds = () => [...live.querySelectorAll("details[id]")].map((d) => [d.id, d.open]);

  const redraw = (html) => {
    const before = new Map(openIds());
    const focused = live.contains(document.activeElement) && document.activeElement.getAttribute("href");
    live.innerHTML = html;
    for (const details of live.querySelectorAll("details[id]")) {
      if (before.has(details.id)) details.open = before.get(details.id);
    }
    if (focused) live.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
  };

  const ask = async () => {
    try {
      const answer = await fetch(live.dataset.from, { headers: { "If-None-Match": etag }, cache: "no-store" });
      if (answer.status === 200) {
        etag = answer.headers.get("ETag") ?? "";
        every = answer.headers.has("Retry-After") ? 1000 : 5000;
        redraw(await answer.text());
      } else if (answer.status === 401) {
        location.reload();
      }
      live.classList.toggle("stale", answer.status >= 500);
    } catch {
      live.classList.add("stale");
    }
    setTimeout(ask, document.hidden ? 5 * every : every);
  };
  setTimeout(ask, every);
})();
