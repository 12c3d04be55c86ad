// Requests to the services and the session they are made in. The access token stays in this page's memory; the
// refresh token in this tab's storage, so that a reload keeps the login and the last tab that closes ends it here.
import { current, known, t } from "./i18n.js";

const KEY = "refresh-token";
const WHOSE = "user-id";
const PATIENCE = 100; // milliseconds for another tab to answer
const SOONEST = 30; // seconds between renewals
const RENEWED_AT = 0.8; // of a token's life

/** An answer that is none of 2xx; `status` 0 when there was none at all. */
export class ApiError extends Error {
  constructor(status, body = {}, retryAfter = 0) {
    super(body.error ?? `HTTP ${status}`);
    this.status = status;
    this.body = body;
    this.retryAfter = retryAfter;
  }

  /** For people. */
  get text() {
    if (this.status === 0) return t("error.network");
    if (this.status === 429) return t("error.429", { count: this.retryAfter });
    if (this.status >= 500) return t("error.unavailable");
    if (this.body.fields) return t("error.fields");
    if (this.status === 409 && this.body.allowed) return t("error.moved", { status: t(`status.${this.body.status}`) });
    return t(known(`error.${this.status}`) ? `error.${this.status}` : this.message);
  }
}

class Session extends EventTarget {
  user = null;
  token = null;
  #renewing = null;
  #timer = 0;
  #tabs = new BroadcastChannel("session");
  #asked = null;
  #told = null;

  constructor() {
    super();
    // Tabs of one login have the same refresh token, which is good for one of them: the others take its heir.
    // One that begins asks the others: a link opened from elsewhere finds its reader logged in, and a tab that was
    // closed, or slept, does not come back with a token that is used up, which would end the login of all.
    this.#tabs.onmessage = ({ data: { asks, whose, to, used, next } }) => {
      const own = sessionStorage.getItem(KEY);
      const ours = this.user && (!whose || whose === String(this.user.id));
      if (asks && own && ours) this.#tabs.postMessage({ to: asks, next: own });
      if (used && used === own) sessionStorage.setItem(KEY, next);
      if (to && to === this.#asked) {
        this.#asked = null;
        sessionStorage.setItem(KEY, next);
        this.#told();
        this.renew().catch(() => {});
      }
    };
  }

  is(...roles) {
    return roles.includes(this.user?.role);
  }

  async login(email, password) {
    this.#take(await send("POST", "/api/auth/login", { body: { email, password } }));
  }

  /** After a reload; without a session, or a server, there is simply nobody, until another tab tells of one. */
  async restore() {
    const told = new Promise((resolve) => (this.#told = resolve));
    this.#tabs.postMessage({ asks: (this.#asked = crypto.randomUUID()), whose: sessionStorage.getItem(WHOSE) });
    if (!sessionStorage.getItem(KEY)) return;
    await Promise.race([told, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
    await this.renew().catch(() => {});
  }

  /** New tokens; one request for all who ask at once, of whichever tab. Throws ApiError. */
  renew() {
    const renew = () => this.#renew();
    this.#renewing ??= (navigator.locks?.request("renew", renew) ?? renew()).finally(() => (this.#renewing = null));
    return this.#renewing;
  }

  async logout() {
    const token = this.token;
    this.#end(false);
    if (token) await send("POST", "/api/auth/logout", { token }).catch(() => {});
  }

  async #renew() {
    this.#asked = null;
    const used = sessionStorage.getItem(KEY);
    if (!used) throw new ApiError(401);
    try {
      const grant = await send("POST", "/api/auth/refresh", { body: { refresh_token: used } });
      this.#tabs.postMessage({ used, next: grant.refresh_token });
      this.#take(grant);
    } catch (error) {
      if (error.status === 401) this.#end(true);
      throw error;
    }
  }

  #take(grant) {
    this.#asked = null;
    sessionStorage.setItem(KEY, grant.refresh_token);
    sessionStorage.setItem(WHOSE, grant.user.id);
    const somebodyElse = this.user?.id !== grant.user.id || this.user?.role !== grant.user.role;
    this.user = grant.user;
    this.token = grant.token;
    clearTimeout(this.#timer);
    const wait = Math.min(Math.max(grant.expires_in * RENEWED_AT, SOONEST), 86400) * 1000;
    this.#timer = setTimeout(() => this.renew().catch(() => {}), wait);
    this.dispatchEvent(new Event("renewed"));
    if (somebodyElse) this.dispatchEvent(new Event("changed"));
  }

  #end(unasked) {
    this.#asked = null;
    const somebody = this.user;
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(WHOSE);
    this.user = this.token = null;
    clearTimeout(this.#timer);
    if (somebody) this.dispatchEvent(new Event("changed"));
    if (somebody && unasked) this.dispatchEvent(new Event("ended"));
  }
}

export const session = new Session();

/**
 * The answer's JSON. `wants: "blob"` gives the body as it is, `wants: "list"` [JSON, X-Total-Count].
 * A refused token is renewed once. Throws ApiError.
 */
export async function api(method, path, options = {}) {
  const token = session.token;
  try {
    return await send(method, path, { ...options, token });
  } catch (error) {
    if (error.status !== 401 || !token) throw error;
    if (session.token === token) await session.renew();
    return send(method, path, { ...options, token: session.token });
  }
}

async function send(method, path, { body, query, headers, signal, token, wants = "json" }) {
  let answer;
  try {
    answer = await fetch(path + search(query), {
      method,
      signal,
      headers: {
        "Accept": wants === "blob" ? "*/*" : "application/json",
        "Accept-Language": current(),
        ...(body && { "Content-Type": "application/json" }),
        ...(token && { Authorization: `Bearer ${token}` }),
        ...headers,
      },
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0);
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, told, Number(answer.headers.get("Retry-After")) || 1);
  }
  if (wants === "blob") return answer.blob();
  if (answer.status === 204) return null;
  const found = await answer.json().catch(() => {
    throw new ApiError(502); // a page where data should be: whoever answered is not the service
  });
  return wants === "list" ? [found, Number(answer.headers.get("X-Total-Count") ?? found.length)] : found;
}

/** `?a=1&b=2&b=3`; what is empty is left out. */
export function search(query = {}) {
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((each) => [name, each]));
  const text = new URLSearchParams(pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined));
  return text.size ? `?${text}` : "";
}
