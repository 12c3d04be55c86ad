// Orders as a table, and one order with its history.
import { api, session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { moment, money, number, t } from "./shared/i18n.js";
import { badge, busy, facts, liveness, mailbox } from "./shared/ui.js";
import { asked, bar, read } from "./filters.js";
import { move, next } from "./life.js";
import { feed } from "./live.js";
import { table } from "./table.js";

const PAGE = 50;

export async function orders({ query, signal }) {
  let filters = read(query);
  let shown = PAGE;
  const outlet = h("div", { class: "card" });
  const count = h("p", { class: "muted", role: "status" });
  const more = h("button", { onclick: () => busy(more, () => load((shown += PAGE))) }, t("more"));
  const load = async () => {
    const [found, total] = await api("GET", "/api/orders", { query: { ...asked(filters), limit: Math.min(shown, 1000) }, signal, wants: "list" });
    put(outlet, table(t("orders"), [t("number"), t("order.customer"), t("order.source"), t("order.status"), t("order.placed"), [t("order.amount")]], found.map(row)));
    put(count, t("orders.count", { count: total, shown: number(total) }));
    more.hidden = found.length >= total || shown >= 1000;
  };
  const again = gathered(load, signal);
  feed.addEventListener("message", again, { signal });
  feed.addEventListener("sync", again, { signal });
  await load();
  const chosen = (wanted) => {
    filters = wanted;
    shown = PAGE;
    busy(more, load);
  };
  return h("section", { class: "stack" },
    h("div", { class: "split" }, h("h1", {}, t("orders")), liveness(feed, signal)), bar(filters, chosen, { statuses: true }), count, outlet, more);
}

const row = (order) => [
  h("a", { href: `#/orders/${order.id}` }, number(order.id)),
  order.customer_name,
  t(`source.${order.source}`),
  badge(order.status),
  moment(order.created_at),
  money(order.total_amount),
];

export async function order({ id, signal }) {
  const node = h("section", { class: "middle stack" });
  const path = `/api/orders/${encodeURIComponent(id)}`;
  let before;
  const load = async () => {
    const [found, changes] = await Promise.all([api("GET", path, { signal }), api("GET", `${path}/history`, { signal })]);
    if (found.updated_at === before) return;
    before = found.updated_at;
    const buttons = next(found.status).map((status) => {
      const button = h("button", { class: status !== "cancelled" && "primary", onclick: () => busy(button, () => change(status)) }, t(`advance.${status}`));
      return button;
    });
    put(node,
      h("p", {}, h("a", { href: "#/" }, `← ${t("board")}`)),
      h("div", { class: "split" }, h("h1", {}, t("order", { id: number(found.id) })), liveness(feed, signal)),
      h("div", { class: "card" },
        facts([
          [t("order.status"), badge(found.status)],
          [t("order.amount"), h("span", { class: "number" }, money(found.total_amount))],
          [t("order.customer"), found.customer_name],
          [t("order.email"), h("a", { href: `mailto:${found.customer_email}` }, mailbox(found.customer_email))],
          [t("order.source"), t(`source.${found.source}`)],
          [t("order.placed"), moment(found.created_at)],
        ]),
        buttons.length > 0 && h("p", { class: "actions" }, buttons)),
      h("section", { class: "card" }, h("h2", {}, t("order.history")), h("ol", { class: "timeline" }, changes.map(step))));
  };
  const change = async (status) => {
    try {
      await move(Number(id), status);
    } finally {
      await load();
    }
  };
  feed.addEventListener("message", ({ detail }) => detail.payload.order_id === Number(id) && load().catch(() => {}), { signal });
  feed.addEventListener("sync", () => load().catch(() => {}), { signal });
  await load();
  return node;
}

const step = (change) =>
  h("li", { class: change.new_status }, h("strong", {}, t(`status.${change.new_status}`)),
    h("p", { class: "muted" }, moment(change.changed_at), " · ",
      change.changed_by === session.user?.id ? t("you") : t("order.by", { role: t(`role.${change.role}`), id: change.changed_by })));

/** Runs `work` once for all that happens within a moment. */
function gathered(work, signal) {
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => work().catch(() => {}), 250);
  };
}
