// A page's side of a Headgate socket: calls that are answered, jobs that are followed, and a
// connection that comes back by itself. No dependencies, no build step.
//
//   const desk = connect("/live");
//   const order = await desk.call({type: "click"});          // the handler's answer to this message
//   desk.follow(jobId, {onprogress, onresult, onfailed});    // also across reconnects and reloads
//   desk.onmessage = (message) => …;                         // whatever else the server sends
//
// The server's half of `follow` is a handler for {type: "follow", job, after}: see app.py.

const FIRST_WAIT = 250; // ms before the first attempt to reconnect; doubled at each failure
const LONGEST_WAIT = 8000;
const START = "0".repeat(16); // the offset before the first event
const MOST_EARLY = 200; // events kept of streams that nobody follows yet
const NEVER_AGAIN = new Set([1008, 4401, 4403]); // closed on purpose: trying again would not help

/** The server answered, and its answer is no. `retryAfter` is in seconds, when the server named it. */
export class Refused extends Error {
  constructor(answer) {
    super(answer.error);
    this.errorId = answer.error_id;
    this.retryAfter = answer.retry_after;
  }
}

/** The connection broke before the answer came: the work may or may not have been done. */
export class Lost extends Error {}

export function connect(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return new Connection(url);
}

class Connection {
  onmessage = () => {};
  onstate = () => {}; // "open" | "waiting" | "closed"
  state = "waiting";

  #url;
  #socket = null;
  #failures = 0;
  #timer = 0;
  #lastId = 0;
  #calls = new Map(); // message id → {message, resolve, reject, sent}
  #jobs = new Map(); // stream → {id, last, handlers}
  #early = []; // events that came before their follower: a job may overtake the answer that names it

  constructor(url) {
    this.#url = url;
    this.#open();
    // A laptop that wakes up, or a network that is back, need not sit out the wait.
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Sends a message; resolves with the handler's answer. A call made while away is sent on reconnect. */
  call(message) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#calls.set(id, { message: { ...message, id }, resolve, reject, sent: false });
      this.#flush();
    });
  }

  /**
   * Follows a job to its end. Handlers: onprogress(data), onstate(kind), onresult(result), onfailed(failure).
   * `sent`: the server sends the events already, because the handler that started the job followed it.
   */
  follow(id, handlers, { sent = false } = {}) {
    const job = { id, last: START, handlers };
    this.#jobs.set(`jobs/${id}`, job);
    this.#early.splice(0).forEach((event) => this.#event(event));
    if (!sent && this.state === "open") this.#ask(job);
  }

  close() {
    this.#become("closed");
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#lose();
  }

  #open() {
    const socket = (this.#socket = new WebSocket(this.#url));
    socket.onopen = () => {
      this.#failures = 0;
      this.#become("open");
      for (const job of this.#jobs.values()) this.#ask(job);
      this.#flush();
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (this.state === "closed") return;
      this.#lose();
      if (NEVER_AGAIN.has(event.code)) this.#become("closed");
      else this.#wait();
    };
  }

  #wait() {
    this.#become("waiting");
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures++);
    // Spread out: a thousand pages that lost one server must not come back in one moment.
    this.#timer = setTimeout(() => this.#open(), most * (0.5 + Math.random() / 2));
  }

  #hurry() {
    if (this.state !== "waiting" || this.#socket.readyState !== WebSocket.CLOSED) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.onstate(state);
  }

  #flush() {
    if (this.state !== "open") return;
    for (const call of this.#calls.values()) {
      if (call.sent) continue;
      call.sent = true;
      this.#socket.send(JSON.stringify(call.message));
    }
  }

  // What was sent and not answered may have been done: only the caller can know whether to repeat it.
  #lose() {
    for (const [id, call] of this.#calls) {
      if (!call.sent && this.state !== "closed") continue;
      this.#calls.delete(id);
      call.reject(new Lost("the connection broke before the answer came"));
    }
  }

  #ask(job) {
    this.call({ type: "follow", job: job.id, after: job.last }).catch((error) => {
      if (error instanceof Lost) return; // asked again on reconnect
      this.#jobs.delete(`jobs/${job.id}`);
      job.handlers.onfailed?.({ type: "Unknown", message: error.message });
    });
  }

  #receive(message) {
    if (message.headgate === "event") return this.#event(message);
    const call = this.#calls.get(message.id);
    if (!call) return this.onmessage(message);
    this.#calls.delete(message.id);
    if (message.headgate === "error") call.reject(new Refused(message));
    else call.resolve(message);
  }

  #event(message) {
    const { stream, offset, event, data, terminal } = message;
    const job = this.#jobs.get(stream);
    if (!job) return void (this.#early = [...this.#early.slice(1 - MOST_EARLY), message]);
    if (offset > job.last) job.last = offset; // offsets sort as text
    else if (!terminal && event !== "truncated") return; // seen before the reconnect
    if (terminal) this.#jobs.delete(stream);
    if (event === "progress") job.handlers.onprogress?.(data);
    else if (event === "result") job.handlers.onresult?.(data.result);
    else if (terminal) job.handlers.onfailed?.({ type: event, ...data }); // failed, cancelled, gone
    else job.handlers.onstate?.(event, data);
  }
}
