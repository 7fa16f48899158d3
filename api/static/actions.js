// Forms that call the REST API: `<form data-api="POST /v1/…">`. Their named fields are the JSON that is sent; an empty
// one is left out. Done, the page is loaded again; refused, the reason is told in the form's `.api-told`.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.dataset?.api) return;
  event.preventDefault();
  const [method, address] = form.dataset.api.split(" ");
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  const told = form.querySelector(".api-told") ?? form.appendChild(Object.assign(document.createElement("p"), { className: "api-told" }));
  told.setAttribute("role", "alert");
  const buttons = [...form.querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  told.textContent = "";
  try {
    const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const answer = await fetch(address, {
      method,
      headers: { Accept: "application/json", "Content-Type": "application/json", ...(method === "POST" ? { "Idempotency-Key": key } : {}) },
      body: method === "DELETE" ? undefined : JSON.stringify(fields),
    });
    if (answer.ok) {
      if (form.dataset.then === "stay") {
        document.dispatchEvent(new CustomEvent("burnish:ask"));
        form.closest("details")?.removeAttribute("open");
        return;
      }
      return location.reload();
    }
    if (answer.status === 401) return location.reload();
    const problem = await answer.json();
    told.textContent = `${problem.detail} ${problem.cure}`;
  } catch {
    told.textContent = "The server does not answer. Try again.";
  } finally {
    for (const button of buttons) button.disabled = false;
  }
});
