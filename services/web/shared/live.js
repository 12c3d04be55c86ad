// Hearing of changes: a WebSocket, and polling for as long as there is none.
import { session } from "./api.js";

const POLL = 10_000; // milliseconds
const SILENT = 70_000; // the server says something at least every 25 s
const PAUSES = [500, 1000, 2000, 5000, 10_000, 20_000];
const STEADY = 10_000; // after so long a connection is not one that only just came about
const REFUSED = 1008;

/**
 * Tells `message` (its `detail` is what the server said), `sync` (read again what you show: anything may have
 * happened) and `state` (`state` is "live", "polling" or "off").
 */
export class Feed extends EventTarget {
  state = "off";
  #path;
  #socket = null;
  #running = false;
  #tries = 0;
  #timers = {};

  /** `path()` is asked before each connection. */
  constructor(path) {
    super();
    this.#path = path;
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#tries = 0;
    this.#connect();
  }

  stop() {
    this.#running = false;
    for (const each of Object.values(this.#timers)) clearTimeout(each);
    this.#socket?.close();
    this.#socket = null;
    this.#become("off");
  }

  #connect() {
    clearTimeout(this.#timers.retry);
    const url = new URL(this.#path(), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, ["bearer", session.token]);
    this.#socket = socket;
    this.#listen(socket);
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#listen(socket);
      const told = JSON.parse(data);
      if (told.type !== "heartbeat") this.dispatchEvent(new CustomEvent("message", { detail: told }));
    };
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      // Who is refused is let in and sent away at once, with a reason: only then is it no connection.
      this.#timers.open = setTimeout(() => {
        this.#timers.steady = setTimeout(() => (this.#tries = 0), STEADY);
        clearTimeout(this.#timers.poll);
        this.#become("live");
        this.dispatchEvent(new Event("sync"));
      }, 50);
    };
    socket.onclose = ({ code }) => {
      if (socket === this.#socket) this.#lost(code);
    };
  }

  /** A connection that has died without a word is given up. */
  #listen(socket) {
    clearTimeout(this.#timers.silent);
    this.#timers.silent = setTimeout(() => socket.close(), SILENT);
  }

  async #lost(code) {
    for (const each of ["open", "steady", "silent"]) clearTimeout(this.#timers[each]);
    this.#socket = null;
    if (!this.#running) return;
    if (this.state !== "polling") this.#poll();
    this.#become("polling");
    if (code === REFUSED) await session.renew().catch(() => {});
    if (!this.#running || this.#socket) return;
    const pause = PAUSES[Math.min(this.#tries++, PAUSES.length - 1)];
    this.#timers.retry = setTimeout(() => this.#connect(), pause * (0.5 + Math.random()));
  }

  #poll() {
    clearTimeout(this.#timers.poll);
    this.#timers.poll = setTimeout(() => {
      this.dispatchEvent(new Event("sync"));
      this.#poll();
    }, POLL);
  }

  #hurry() {
    if (this.#running && !this.#socket) this.#connect();
  }

  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
