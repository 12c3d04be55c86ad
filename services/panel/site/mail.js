// What became of each mail, and what mails look like; for admins.
import { api } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { current, moment, number, t } from "./shared/i18n.js";
import { announce, busy, choice } from "./shared/ui.js";
import { table } from "./table.js";

const STATUSES = ["queued", "sent", "failed", "suppressed"];
const TEMPLATES = ["welcome", "order_placed", "status_changed", "password_reset"];

export async function mail({ signal }) {
  const asked = { status: "", template: "" };
  const outlet = h("div", { class: "card" });
  const count = h("p", { class: "muted", role: "status" });
  const load = async () => {
    const [found, total] = await api("GET", "/api/mail", { query: { ...asked, limit: 50 }, signal, wants: "list" });
    const row = (each) => [
      each.recipient, t(`mail.${each.template}`), h("span", { class: `badge ${TONES[each.status]}`, title: each.error ?? "" }, t(`mail.is.${each.status}`)),
      moment(each.created_at), number(each.attempts), each.status === "failed" ? again(each) : "",
    ];
    put(outlet, table(t("mail"), [t("email"), t("mail.kind"), t("order.status"), t("created"), [t("mail.attempts")], ""], found.map(row)));
    put(count, t("mail.count", { count: total, shown: number(total) }));
  };
  const again = (each) => {
    const button = h("button", { class: "small", "aria-label": t("mail.retry.of", { email: each.recipient }) }, t("retry"));
    button.addEventListener("click", () => busy(button, async () => {
      await api("POST", `/api/mail/${each.id}/retry`);
      announce(t("mail.retried"));
      await load();
    }));
    return button;
  };
  const any = (names, kind) => ({ "": t("any"), ...Object.fromEntries(names.map((each) => [each, t(`${kind}.${each}`)])) });
  const filters = h("form", { class: "filters", "aria-label": t("filters") },
    choice(t("order.status"), "status", any(STATUSES, "mail.is"), ""), choice(t("mail.kind"), "template", any(TEMPLATES, "mail"), ""));
  filters.addEventListener("change", (event) => {
    Object.assign(asked, Object.fromEntries(new FormData(filters)));
    busy(event.target, load);
  });
  await load();
  return h("section", { class: "stack" }, h("h1", {}, t("mail")), filters, count, outlet, preview());
}

const TONES = { queued: "new", sent: "delivered", failed: "failing", suppressed: "cancelled" };

/** The text of an example; the same words are in its HTML. */
function preview() {
  const shown = h("div", { class: "letter", "aria-live": "polite" });
  const kinds = Object.fromEntries(TEMPLATES.map((each) => [each, t(`mail.${each}`)]));
  const node = h("form", { class: "filters", "aria-label": t("mail.preview") },
    choice(t("mail.kind"), "template", kinds, "order_placed"),
    choice(t("language"), "language", { pl: "Polski", en: "English" }, current()),
    h("button", {}, t("mail.show")));
  node.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(node.querySelector("button"), async () => {
      const body = Object.fromEntries(new FormData(node));
      const { subject, text } = await api("POST", "/api/mail/preview", { body });
      put(shown, h("h3", { lang: body.language }, subject), h("pre", { lang: body.language, tabindex: "0" }, text));
    });
  });
  return h("section", { class: "card" }, h("h2", {}, t("mail.preview")), node, shown);
}
