// Headgate's browser client: headgate.d.ts says how it is used. Served without comments and indentation.

const START = "0".repeat(16); // the offset before the first event; offsets sort as text
const LONGEST = 8000, QUIET = 25000, PATIENCE = 5000; // ms
const FINAL = [1008, 4009, 4401, 4403]; // closed on purpose: trying again would not help

/** The server answered, and its answer is no. */
export class Refused extends Error {
  constructor(answer) {
    super(answer.error);
    this.errorId = answer.error_id;
    this.retryAfter = answer.retry_after;
  }
}

/** The connection broke before the answer: the work may or may not have been done. */
export class Lost extends Error {}

class Job {
  offset = START;
  done = false;
  #early = []; // what comes before somebody follows: a job may overtake the answer that names it

  constructor(stream) {
    this.stream = stream;
    this.id = stream.replace("jobs/", "");
  }

  toJSON() {
    return { stream: this.stream, offset: this.offset, token: this.token };
  }

  take(handlers) {
    Object.assign(this, handlers);
    // Handlers may also be set after this call; what has come is theirs then.
    queueMicrotask(() => {
      this.#early?.forEach((one) => this.#tell(one));
      this.#early = null;
    });
    return this;
  }

  event(one) {
    const { offset, event, terminal } = one;
    if (this.done || (offset <= this.offset && event !== "truncated" && !terminal)) return;
    if (offset > this.offset) this.offset = offset;
    this.done = !!terminal;
    if (this.#early) this.#early = [...this.#early.slice(-199), one];
    else this.#tell(one);
  }

  /** Reads by server-sent events, where there is no socket. */
  listen(url = new URL(`streams/${this.stream}?token=${this.token}`, import.meta.url)) {
    if (this.source || this.done) return this;
    url.searchParams.set("live", "sse");
    url.searchParams.set("offset", this.offset);
    const source = (this.source = new EventSource(url));
    const on = (event, heard) =>
      source.addEventListener(event, (e) => heard(JSON.parse(e.data), e.lastEventId));
    // A bare message does not carry its offset: those of one piece are one after the other, up to `last`.
    on("data", (all, last) =>
      all.forEach((data, at) => {
        const offset = String(+last - all.length + 1 + at).padStart(16, "0");
        this.event(data?.offset && data.event ? data : { event: "message", data, offset });
      }),
    );
    on("truncated", (data, offset) => this.event({ event: "truncated", data, offset }));
    on("gone", (data) => this.event({ event: "gone", data, terminal: true }));
    on("control", (data) => data.streamClosed && this.mute((this.done = true)));
    source.onerror = () => {
      if (source.readyState < 2) return;
      this.mute();
      setTimeout(() => this.listen(url), LONGEST);
    };
    return this;
  }

  mute() {
    this.source?.close();
    this.source = null;
  }

  #tell(one) {
    const { event, data, terminal } = one;
    this.onevent?.(one);
    if (event === "progress") this.onprogress?.(data);
    else if (event === "result") this.onresult?.(data.result);
    else if (event === "truncated") this.ontruncated?.(data);
    else if (terminal) this.onfailed?.({ type: event, ...data }); // failed, cancelled, gone
    else this.onstate?.(event, data);
  }
}

/** Follows by a signed address, without a socket. */
export function follow(address, handlers) {
  const url = new URL(address, location);
  return new Job(decodeURI(url.pathname).split("/-/streams/")[1]).take(handlers).listen(url);
}

export const connect = (path, options) => new Connection(path, options);

class Connection {
  state = "waiting";
  #failures = 0;
  #lastId = 0;
  #calls = new Map(); // id → {message, resolve, reject, sent}
  #jobs = new Map(); // stream → Job

  constructor(path, { fallback = 3 } = {}) {
    const url = (this.url = new URL(path, location));
    url.protocol = url.protocol.replace("http", "ws");
    // A new connection of this session ends the one before, which may look alive to the server.
    url.searchParams.set("headgate-session", crypto.getRandomValues(new Uint32Array(4)).join("-"));
    this.fallback = fallback;
    this.#open();
    const awake = ({ type }) => (type === "visibilitychange" && document.hidden) || this.#wake();
    ["online", "pageshow"].forEach((kind) => addEventListener(kind, awake));
    ["visibilitychange", "resume"].forEach((kind) => document.addEventListener(kind, awake));
    this.pulse = setInterval(() => {
      const waits = this.#calls.size || [...this.#jobs.values()].some((job) => !job.done);
      if (waits && this.state === "open" && Date.now() - this.heard > QUIET) this.#probe();
    }, PATIENCE);
  }

  call(message) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#calls.set(id, { message: { ...message, id }, resolve, reject });
      this.#flush();
    });
  }

  follow(what, handlers) {
    if (!what.stream) what = { stream: what.includes("/") ? what : "jobs/" + what };
    const fresh = !this.#jobs.has(what.stream);
    const job = this.#job(what.stream);
    if (fresh && what.token) {
      job.token = what.token;
      job.offset = what.offset;
      this.#resume();
    }
    return job.take(handlers);
  }

  close() {
    this.#become("closed");
    clearTimeout(this.timer);
    clearInterval(this.pulse);
    this.#jobs.forEach((job) => job.mute());
    this.socket.close();
    this.#lose();
  }

  #open() {
    const socket = (this.socket = new WebSocket(this.url));
    setTimeout(() => socket.readyState || socket.close(), LONGEST); // a handshake that nobody answers
    socket.onopen = () => {
      this.#failures = 0;
      this.fallback = Infinity;
      this.heard = Date.now();
      this.#become("open");
      this.#resume();
      this.#flush();
    };
    socket.onmessage = (event) => {
      this.heard = Date.now();
      this.#receive(typeof event.data === "string" ? JSON.parse(event.data) : event.data);
    };
    socket.onclose = (event) => {
      if (socket === this.socket && this.state !== "closed") this.#closed(event);
    };
  }

  #closed({ code, reason }) {
    this.#lose();
    if (FINAL.includes(code)) return this.#become("closed");
    this.#become("waiting");
    const [, hint] = /retry in ([\d.]+) s/.exec(reason) ?? [];
    // Spread out: a thousand pages that lost one server must not come back in one moment.
    const wait = Math.min(LONGEST, 250 * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.#open(), hint ? hint * 1000 : code === 4008 ? 0 : wait);
    if (this.#failures >= this.fallback) this.#jobs.forEach((job) => job.token && job.listen());
  }

  #wake() {
    if (this.state === "open") this.#probe();
    else if (this.state === "waiting" && this.socket.readyState === 3) {
      clearTimeout(this.timer);
      this.#open();
    }
  }

  /** After a sleep a socket may be dead and look alive: ask, and do not wait long. */
  #probe() {
    const { socket } = this;
    const asked = (this.heard = Date.now());
    socket.send('{"headgate":"ping"}');
    setTimeout(() => {
      if (this.heard !== asked || this.socket !== socket || this.state !== "open") return;
      socket.onmessage = null;
      socket.close();
      this.#lose();
      this.#become("waiting");
      this.#open();
    }, PATIENCE);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.onstate?.(state);
  }

  #flush() {
    if (this.state !== "open") return;
    for (const call of this.#calls.values()) {
      if (!call.sent) this.socket.send(JSON.stringify(call.message));
      call.sent = true;
    }
  }

  // What was sent and not answered may have been done: only the caller can know whether to repeat it.
  #lose() {
    this.#calls.forEach((call, id) => {
      if (!call.sent && this.state !== "closed") return;
      this.#calls.delete(id);
      call.reject(new Lost("the connection broke before the answer came"));
    });
  }

  /** Tells the gateway what this client has: it goes on behind that, and says by which token to come back. */
  #resume() {
    if (this.state !== "open") return;
    const streams = {};
    this.#jobs.forEach((job) => {
      job.mute();
      if (job.token && !job.done) streams[job.stream] = [job.offset, job.token];
    });
    this.socket.send(JSON.stringify({ headgate: "resume", streams }));
  }

  #receive(message) {
    const { headgate, id, stream } = message;
    const call = this.#calls.get(id);
    if (headgate === "following") this.#job(stream).token = message.token;
    else if (headgate === "event") this.#job(stream).event(message);
    else if (headgate === "pong") return;
    else if (!call) this.onmessage?.(message);
    else {
      this.#calls.delete(id);
      if (headgate === "error") call.reject(new Refused(message));
      else call.resolve(message);
    }
  }

  #job(stream) {
    if (!this.#jobs.has(stream)) this.#jobs.set(stream, new Job(stream));
    return this.#jobs.get(stream);
  }
}
