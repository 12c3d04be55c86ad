// Which view the address names, as in #/orders/12?tab=history.
import { ApiError, session } from "./api.js";
import { h, put } from "./dom.js";
import { t } from "./i18n.js";

export const go = (path) => (location.hash = `#${path}`);

/** The path and query after the #. */
export function place() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { path: path || "/", query: new URLSearchParams(query) };
}

export class Router {
  #outlet;
  #routes;
  #site;
  #leave = new AbortController();

  /**
   * `routes`: pattern -> {view, needs?}; `view({id, query, signal})` gives a node, or a promise of one; `signal` ends
   * with the view. `needs` is a list of roles; who has none of them is shown `login()`. `site` ends the title.
   */
  constructor(outlet, routes, { site, login }) {
    this.#outlet = outlet;
    this.#routes = Object.entries(routes).map(([pattern, route]) => ({
      pattern: new RegExp(`^${pattern.replace(/:(\w+)/g, "(?<$1>[^/]+)")}$`),
      ...route,
    }));
    this.#site = site;
    this.login = login;
    addEventListener("hashchange", () => this.show(true));
  }

  /** Shows what the address names; `arrived` moves the focus to its heading. */
  async show(arrived = false) {
    this.#leave.abort();
    this.#leave = new AbortController();
    const { signal } = this.#leave;
    this.#outlet.setAttribute("aria-busy", "true");
    this.#outlet.inert = true; // what is there belongs to another address already
    const node = await this.#view(signal).catch((error) => this.#failed(error));
    if (signal.aborted) return;
    put(this.#outlet, node);
    this.#outlet.removeAttribute("aria-busy");
    this.#outlet.inert = false;
    const heading = this.#outlet.querySelector("h1");
    document.title = heading ? `${heading.textContent} · ${this.#site()}` : this.#site();
    document.dispatchEvent(new Event("shown"));
    if (!arrived) return;
    scrollTo(0, 0);
    if (this.#outlet.contains(document.activeElement)) return; // the view chose
    heading?.setAttribute("tabindex", "-1");
    heading?.focus({ preventScroll: true });
  }

  async #view(signal) {
    const { path, query } = place();
    for (const { pattern, view, needs } of this.#routes) {
      const found = pattern.exec(path);
      if (!found) continue;
      if (needs && !session.is(...needs)) return this.login({ signal, query });
      return view({ ...found.groups, query, signal });
    }
    return message(t("notfound.title"), t("notfound.text"), h("a", { class: "button", href: "#/" }, t("notfound.home")));
  }

  #failed(error) {
    if (error.name === "AbortError") return h("div");
    if (!(error instanceof ApiError)) throw error;
    return message(t("error.title"), error.text, h("button", { onclick: () => this.show(true) }, t("retry")));
  }
}

/** A page that only says something. */
export function message(title, text, ...actions) {
  return h("section", { class: "message" }, h("h1", {}, title), h("p", {}, text), h("p", { class: "actions" }, actions));
}
