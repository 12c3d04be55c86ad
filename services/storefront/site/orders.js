// The customer's own orders, which change while they are looked at.
import { api, session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { money, moment, number, t } from "./shared/i18n.js";
import { Feed } from "./shared/live.js";
import { announce, ask, badge, busy, facts, icon, liveness, mailbox } from "./shared/ui.js";

export const feed = new Feed(() => "/ws");

const PAGE = 20;
const LIFE = ["new", "confirmed", "shipped", "delivered"];

/** Tells where the order's status is shown or not: on whichever page the customer is. */
feed.addEventListener("message", ({ detail: { payload } }) => {
  if (payload.updated_by !== "system" && !session.is("admin", "employee")) {
    announce(t("order.became", { id: payload.order_id, status: t(`status.${payload.new_status}`) }));
  }
});

export async function orders({ signal }) {
  let shown = PAGE;
  const list = h("ul", { class: "card rows" });
  const more = h("button", { onclick: () => busy(more, () => load((shown += PAGE))) }, t("more"));
  const load = async () => {
    const [found, total] = await api("GET", "/api/orders", { query: { limit: shown }, signal, wants: "list" });
    put(list, found.length ? found.map(row) : h("li", { class: "empty" }, h("p", { class: "grow" }, t("orders.none"))));
    more.hidden = found.length >= total;
  };
  follow(load, signal);
  await load();
  return h("section", { class: "middle stack" }, h("div", { class: "split" }, h("h1", {}, t("orders")), liveness(feed, signal)), list, more);
}

const row = (order) =>
  h("li", { "data-order": order.id },
    h("div", { class: "grow" },
      h("a", { href: `#/orders/${order.id}` }, t("order", { id: number(order.id) })),
      h("p", { class: "muted" }, moment(order.created_at))),
    badge(order.status),
    h("span", { class: "price number" }, money(order.total_amount)));

export async function order({ id, signal }) {
  const node = h("section", { class: "middle stack" });
  const status = h("p", { class: "hidden", role: "status" });
  let before = null;
  const load = async () => {
    const [found, changes] = await Promise.all([
      api("GET", `/api/orders/${encodeURIComponent(id)}`, { signal }),
      api("GET", `/api/orders/${encodeURIComponent(id)}/history`, { signal }),
    ]);
    if (found.status === before) return;
    before = found.status;
    put(node, status, parts(found, changes, cancel, signal));
    put(status, t("order.is", { status: t(`status.${found.status}`) }));
  };
  const cancel = async (button) => {
    if (!(await ask(t("order.cancel.ask", { id }), t("yes.cancel"), t("no.keep")))) return;
    await busy(button, () => api("PATCH", `/api/orders/${id}/status`, { body: { status: "cancelled" } }));
    await load();
  };
  follow(load, signal);
  await load();
  return node;
}

function parts(order, changes, cancel, signal) {
  const button = order.status === "new" && h("button", { onclick: () => cancel(button) }, t("yes.cancel"));
  return [
    h("p", {}, h("a", { href: "#/orders" }, t("orders.back"))),
    h("div", { class: "split" }, h("h1", {}, t("order", { id: number(order.id) })), liveness(feed, signal)),
    h("div", { class: "card" },
      order.status === "cancelled" ? h("p", {}, badge("cancelled")) : progress(order.status),
      h("p", { class: "lead" }, t(`order.text.${order.status}`))),
    h("div", { class: "card" }, facts([
      [t("order.amount"), h("span", { class: "number" }, money(order.total_amount))],
      [t("order.placed"), moment(order.created_at)],
      [t("order.customer"), order.customer_name],
      [t("order.email"), mailbox(order.customer_email)],
    ])),
    h("section", { class: "card" }, h("h2", {}, t("order.history")),
      h("ol", { class: "timeline" }, changes.map((each) =>
        h("li", { class: each.new_status }, h("strong", {}, t(`status.${each.new_status}`)), h("p", { class: "muted" }, moment(each.changed_at)))))),
    button && h("p", { class: "actions" }, button),
  ];
}

function progress(status) {
  const reached = LIFE.indexOf(status);
  return h("ol", { class: "progress" }, LIFE.map((each, index) =>
    h("li", { class: index <= reached && "reached", "aria-current": index === reached && "step" },
      h("span", { class: "dot" }, index < reached || status === "delivered" ? icon("check") : null), t(`status.${each}`))));
}

/** Reads again at each update; a failure is told by the next. */
function follow(load, signal) {
  const again = () => load().catch(() => {});
  feed.addEventListener("message", again, { signal });
  feed.addEventListener("sync", again, { signal });
}
