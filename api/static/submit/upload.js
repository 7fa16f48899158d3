// One file on its way, in parts: a lost connection costs one part, and a page that was closed goes on where it was
// when the same file is chosen again. Where the server offers links, parts go straight to the store.
const TRIES = 8, LONGEST_WAIT = 15000, STORE_TRIES = 2;

const base64 = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)));
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
// Browsers hash only on https and on this machine; elsewhere the server's own hash of a part is not compared.
const sha256 = (bytes) => (globalThis.crypto?.subtle ? crypto.subtle.digest("SHA-256", bytes) : undefined);

export class Refusal extends Error {}
class Stopped extends Error {}

export class Upload {
  // kind: model or dataset. seen(bytes): of the file that have arrived. told(text): what goes on.
  constructor(file, kind, name, { seen, told }) {
    Object.assign(this, { file, kind, name, seen, told, stopped: false });
    this.memory = `burnish.upload.${kind}.${name}.${file.name}.${file.size}.${file.lastModified}`;
  }

  // Sends what is missing; gives the model or dataset that came of it. Throws Refusal; undefined if it was stopped.
  async run() {
    this.stopped = false;
    try {
      const upload = await this.begin();
      if (!await this.sendToStore(upload)) await this.sendMissing(upload);
      this.told("All of it has arrived; it is being checked.");
      const made = await this.again(() => this.ask("POST", upload.links.complete));
      localStorage.removeItem(this.memory);
      return made;
    } catch (error) {
      if (error instanceof Stopped) return undefined;
      if (error instanceof Refusal) localStorage.removeItem(this.memory);
      throw error;
    }
  }

  pause() {
    this.stopped = true;
    this.request?.abort();
    this.wake?.();
  }

  async drop() {
    this.pause();
    const id = localStorage.getItem(this.memory);
    localStorage.removeItem(this.memory);
    if (id) await fetch(`/v1/uploads/${id}`, { method: "DELETE" }).catch(() => {});
  }

  async begin() {
    const known = localStorage.getItem(this.memory);
    const earlier = known && await this.again(() => this.ask("GET", `/v1/uploads/${known}`, undefined, [404]));
    if (earlier && earlier.resource === null) return earlier;
    const order = JSON.stringify({ kind: this.kind, name: this.name, size: this.file.size });
    const upload = await this.again(() => this.ask("POST", "/v1/uploads", new Blob([order], { type: "application/json" })));
    localStorage.setItem(this.memory, upload.id);
    return upload;
  }

  // Sends what is missing at the store; false if it may not go there, or the store takes nothing from this page.
  async sendToStore(upload) {
    for (let tries = 0; upload.direct?.missing && !upload.parts.length;) {
      const before = upload.direct.missing;
      try {
        for (const part of upload.direct.parts) await this.putToStore(upload, part);
      } catch (error) {
        if (this.stopped) throw new Stopped();
        this.told("The store does not take what was sent. Trying again.");
      }
      upload = await this.again(() => this.ask("GET", upload.links.self)); // what has arrived, and fresh links
      tries = upload.direct?.missing < before ? 0 : tries + 1;
      if (tries === STORE_TRIES && before === upload.part_count) break;
      if (tries === TRIES) throw new Error("The store takes no more parts. What has arrived is kept for a day.");
    }
    this.told("");
    return Boolean(upload.direct) && !upload.parts.length && !upload.direct.missing;
  }

  async putToStore(upload, part) {
    if (this.stopped) throw new Stopped();
    const start = (part.number - 1) * upload.part_size;
    const bytes = this.file.slice(start, start + part.size);
    await this.ask("PUT", part.url, bytes, [], {}, (sent) => this.seen(start + sent));
    this.seen(start + part.size);
  }

  async sendMissing(upload) {
    const arrived = new Map(upload.parts.map((part) => [part.number, part.digest]));
    let done = 0;
    for (let number = 1; number <= upload.part_count; number += 1) {
      const part = this.file.slice((number - 1) * upload.part_size, number * upload.part_size);
      const digest = await sha256(await part.arrayBuffer().catch(() => { throw new Refusal("The file can't be read any more. Choose it again."); }));
      const there = arrived.has(number) && (digest === undefined || arrived.get(number) === hex(digest));
      if (!there) {
        const headers = digest ? { "Content-Digest": `sha-256=:${base64(digest)}:` } : {};
        await this.again(() => this.ask("PUT", upload.links.part.replace("{number}", number), part, [], headers, (sent) => this.seen(done + sent)));
      }
      done += part.size;
      this.seen(done);
    }
  }

  // Again and again while the connection or the server is away; a refusal is final.
  async again(act) {
    for (let attempt = 1; ; attempt += 1) {
      if (this.stopped) throw new Stopped();
      try {
        const answer = await act();
        if (attempt > 1) this.told("");
        return answer;
      } catch (error) {
        if (this.stopped) throw new Stopped();
        if (error instanceof Refusal || attempt === TRIES) throw error;
        this.told(`${error.message} Trying again; nothing that has arrived is sent twice.`);
        const wait = Math.min(LONGEST_WAIT, 500 * 2 ** attempt) * (0.5 + Math.random() / 2);
        await new Promise((resolve) => { this.wake = resolve; setTimeout(resolve, wait); });
      }
    }
  }

  // The answer's document; undefined for a status in `absent`. By XMLHttpRequest, since fetch tells no progress.
  ask(method, address, body, absent = [], headers = {}, progress = () => {}) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.request = request;
      request.open(method, address);
      request.setRequestHeader("Accept", "application/json");
      if (body?.type === "") request.setRequestHeader("Content-Type", "application/octet-stream");
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => progress(event.loaded);
      request.onload = () => {
        let told = {};
        try { told = JSON.parse(request.responseText || "{}"); } catch { /* a proxy's page: told by its status below */ }
        if (request.status < 300) resolve(told);
        else if (absent.includes(request.status)) resolve(undefined);
        else if (request.status === 401) location.reload();
        else if (request.status < 500 && request.status !== 429 && told.detail) reject(new Refusal(`${told.detail} ${told.cure ?? ""}`));
        else reject(new Error(told.detail ?? `The server answered ${request.status}.`));
      };
      request.onerror = request.onabort = request.ontimeout = () => reject(new Error("The server can't be reached."));
      request.send(body);
    });
  }
}
