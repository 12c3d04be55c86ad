// Filters of orders, kept in the address, so that they survive a reload and can be sent to somebody.
import { h } from "./shared/dom.js";
import { t } from "./shared/i18n.js";
import { place } from "./shared/router.js";
import { choice, field } from "./shared/ui.js";
import { SOURCES, STATUSES } from "./life.js";

const NAMES = ["query", "source", "status", "from", "to"];

/** What the address asks for. */
export function read(query) {
  return Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
}

/** The same as a query of GET /api/orders; days are those of who looks, the last one included. */
export function asked({ query, source, status, from, to }) {
  return { query, source, status, created_from: midnight(from), created_to: midnight(to, 1) };
}

/** `changed(filters)` is called when somebody has chosen. */
export function bar(filters, changed, { statuses = false } = {}) {
  const any = (names, kind) => ({ "": t("any"), ...Object.fromEntries(names.map((each) => [each, t(`${kind}.${each}`)])) });
  const optional = { required: false };
  const node = h(
    "form",
    { class: "filters", role: "search", "aria-label": t("filters") },
    field(t("filter.name"), "query", { ...optional, type: "search", value: filters.query, maxlength: 200 }),
    choice(t("order.source"), "source", any(SOURCES, "source"), filters.source),
    statuses && choice(t("order.status"), "status", any(STATUSES, "status"), filters.status),
    field(t("from"), "from", { ...optional, type: "date", value: filters.from }),
    field(t("to"), "to", { ...optional, type: "date", value: filters.to }),
  );
  let timer;
  const tell = () => {
    clearTimeout(timer);
    const values = new FormData(node);
    const chosen = Object.fromEntries(NAMES.map((name) => [name, String(values.get(name) ?? "").trim()]));
    const text = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
    history.replaceState(null, "", `#${place().path}${text.size ? `?${text}` : ""}`);
    changed(chosen);
  };
  node.addEventListener("change", tell);
  node.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(timer);
    timer = setTimeout(tell, 300);
  });
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
  });
  return node;
}

function midnight(day, later = 0) {
  if (!day) return "";
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date + later).toISOString();
}
