// What happened, as the notification service tells it.
import { api, session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { current, moment, t } from "./shared/i18n.js";
import { Feed } from "./shared/live.js";
import { badge, liveness } from "./shared/ui.js";

const MOST = 200;
const SEEN = "notification-seen";

/** Tells `changed`. */
export const changes = new EventTarget();
export const feed = new Feed(() => `/ws/notifications${newest() ? `?after=${newest()}` : ""}`);

let items = []; // the newest first
let reading = false;

const newest = () => items[0]?.id ?? 0;
const seen = () => Number(localStorage.getItem(SEEN)) || 0;

/** How many nobody has looked at in this browser. */
export const unread = () => items.filter((each) => each.id > seen()).length;

export function forget() {
  items = [];
}

feed.addEventListener("message", ({ detail }) => detail.type === "notification" && take([detail.payload]));
feed.addEventListener("sync", () => session.token && load().catch(() => {}));

export async function notifications({ signal }) {
  const list = h("ul", { class: "card rows", "aria-live": "polite", "aria-relevant": "additions" });
  const show = () => {
    for (const each of items.slice().reverse()) {
      if (!list.querySelector(`[data-id="${each.id}"]`)) list.prepend(row(each));
    }
    while (list.children.length > MOST) list.lastChild.remove();
    if (!items.length) put(list, h("li", { class: "empty" }, h("p", { class: "grow" }, t("none"))));
    else list.querySelector(".empty")?.remove();
    look();
  };
  await load();
  reading = true;
  signal.addEventListener("abort", () => (reading = false));
  changes.addEventListener("changed", show, { signal });
  show();
  return h("section", { class: "middle stack" }, h("div", { class: "split" }, h("h1", {}, t("notifications")), liveness(feed, signal)), list);
}

const row = (each) =>
  h("li", { "data-id": each.id },
    h("div", { class: "grow" }, h("a", { href: `#/orders/${each.order_id}` }, current() === "pl" ? each.text_pl : each.text_en),
      h("p", { class: "muted" }, h("time", { datetime: each.occurred_at }, moment(each.occurred_at)))),
    badge(each.status));

async function load() {
  take(await api("GET", "/api/notifications", { query: newest() ? { after: newest() } : { limit: 100 } }));
}

function take(found) {
  const known = new Set(items.map((each) => each.id));
  const fresh = found.filter((each) => !known.has(each.id));
  if (!fresh.length) return;
  items = [...fresh, ...items].sort((one, other) => other.id - one.id).slice(0, MOST);
  changes.dispatchEvent(new Event("changed"));
}

function look() {
  if (!reading || unread() === 0) return;
  localStorage.setItem(SEEN, String(newest()));
  changes.dispatchEvent(new Event("changed"));
}
