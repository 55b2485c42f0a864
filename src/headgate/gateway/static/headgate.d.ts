// Types of Headgate's browser client, served at /-/client.js:
//
//   import { connect, follow } from "/-/client.js";
//   const desk = connect("/live");
//   const { job } = await desk.call({ type: "reprice" });     // the handler's answer to this message
//   desk.follow(job, { onprogress, onresult, onfailed });      // also across reconnects, and after a reload
//
// The handler follows the job for this connection: `sock.follow(handle)`. From then on the client comes back to it
// by itself, with a token that the gateway gave it.

/** An offset: opaque, and sorted as text. */
export type Offset = string;

export interface Progress {
  done?: number;
  total?: number;
  [more: string]: unknown;
}

/** Why no result comes: `type` is failed, cancelled or gone. */
export interface Failed {
  type: string;
  message?: string;
  reason?: string;
}

export interface StreamEvent {
  event: string;
  data: any;
  offset: Offset;
  terminal?: boolean;
}

export interface Handlers {
  onprogress?: (progress: Progress) => void;
  onresult?: (result: any) => void;
  onfailed?: (failed: Failed) => void;
  /** Other events: queued, started, retrying, log, and whatever kinds a stream of yours has. */
  onstate?: (event: string, data: any) => void;
  /** Events before the next one are gone; `reason` says why. */
  ontruncated?: (data: { reason: string }) => void;
  /** Every event, before the others hear of it. */
  onevent?: (event: StreamEvent) => void;
}

/** A job or stream that is followed. As JSON it is what `follow` takes after a reload of the page. */
export interface Job extends Handlers {
  readonly id: string;
  readonly stream: string;
  readonly offset: Offset;
  readonly token?: string;
  readonly done: boolean;
  toJSON(): { stream: string; offset: Offset; token?: string };
}

export interface Connection {
  readonly state: "open" | "waiting" | "closed";
  onstate?: (state: Connection["state"]) => void;
  /** Whatever else the server sends: channel messages, sends. Binary messages are Blobs. */
  onmessage?: (message: any) => void;
  /**
   * Sends a message and resolves with the handler's answer. A call made while away is sent on reconnect.
   * Rejects with `Refused`, or with `Lost` when the connection broke before the answer.
   */
  call<Answer = any>(message: object): Promise<Answer>;
  /**
   * Follows a job by its id, a stream by its name, or what a `Job` was as JSON. Each event comes once and in order.
   * By id or name the app must follow it for this connection, as with `sock.follow`.
   */
  follow(what: string | ReturnType<Job["toJSON"]>, handlers?: Handlers): Job;
  close(): void;
}

/** The server answered, and its answer is no. */
export class Refused extends Error {
  errorId?: string;
  /** Seconds, where the server named them. */
  retryAfter?: number;
}

/** The connection broke before the answer: the work may or may not have been done. */
export class Lost extends Error {}

/**
 * Connects to a socket of the app and stays connected: with back-off, at the moments that the server names, at once
 * when a laptop wakes.
 *
 * @param options.fallback after so many failures, if there never was a socket, what is followed is read by
 * server-sent events. Default 3.
 */
export function connect(path: string, options?: { fallback?: number }): Connection;

/** Follows by a signed address (`handle.stream_url`, or `stream` in a 202 answer), by server-sent events. */
export function follow(address: string, handlers?: Handlers): Job;
