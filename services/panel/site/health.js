// Which services answer, asked from here through the gateway like everything else.
import { session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { moment, number, t } from "./shared/i18n.js";
import { liveness } from "./shared/ui.js";
import { feed } from "./live.js";
import { feed as news } from "./notifications.js";

const EVERY = 15_000; // milliseconds
const LATE = 10_000;
const SERVICES = {
  auth: "/api/v1/health",
  orders: "/api/orders?limit=1",
  notification: "/api/notifications?limit=1",
  analytics: "/api/reports?limit=1",
  mail: "/api/mail?limit=1",
  storefront: "/",
};

export async function health({ signal }) {
  const list = h("ul", { class: "card rows" });
  const when = h("p", { class: "muted", role: "status" });
  const look = async () => {
    const found = await Promise.all(Object.entries(SERVICES).map(async ([name, path]) => ({ name, path, ...(await probe(path)) })));
    if (signal.aborted) return;
    put(list, found.map(row));
    const down = found.filter((each) => !each.good).length;
    put(when, down ? t("health.some", { count: down }) : t("health.all"), ` ${t("health.at", { time: moment(new Date()) })}`);
  };
  const timer = setInterval(look, EVERY);
  signal.addEventListener("abort", () => clearInterval(timer));
  await look();
  return h("section", { class: "middle stack" }, h("h1", {}, t("health")), when, list,
    h("section", { class: "card" }, h("h2", {}, t("health.feeds")), h("ul", { class: "rows" },
      [["/ws", feed], ["/ws/notifications", news]].map(([path, each]) => h("li", {}, h("code", { class: "grow" }, path), liveness(each, signal))))));
}

/** Any answer of the service's own is good: that it refuses somebody is no illness. */
async function probe(path) {
  const began = performance.now();
  try {
    const answer = await fetch(path, {
      headers: { Authorization: `Bearer ${session.token}` },
      cache: "no-store",
      signal: AbortSignal.timeout(LATE),
    });
    return { good: answer.ok || answer.status === 403, code: answer.status, took: performance.now() - began };
  } catch {
    return { good: false, code: 0, took: 0 };
  }
}

const row = ({ name, path, good, code, took }) =>
  h("li", { "data-service": name },
    h("div", { class: "grow" }, h("strong", {}, t(`service.${name}`)), h("p", { class: "muted number" }, h("code", {}, path.split("?")[0]), good && ` · ${number(Math.round(took))} ms`)),
    h("span", { class: `badge ${good ? "delivered" : "failing"}` }, good ? t("health.up") : t(code ? "health.bad" : "health.down", { code })));
