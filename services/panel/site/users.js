// People and their roles; for admins.
import { api, session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { moment, number, t } from "./shared/i18n.js";
import { announce, ask, busy, choice, field } from "./shared/ui.js";
import { table } from "./table.js";

const ROLES = ["admin", "employee", "customer"];
const PAGE = 100;

export async function users({ signal }) {
  const asked = { query: "", role: "" };
  let shown = PAGE;
  const outlet = h("div", { class: "card" });
  const count = h("p", { class: "muted", role: "status" });
  const more = h("button", { onclick: () => busy(more, () => load((shown = Math.min(shown + PAGE, 500)))) }, t("more"));
  const load = async () => {
    const { users, total } = await api("GET", "/api/auth/users", { query: { ...asked, limit: shown }, signal });
    put(outlet, table(t("users"), [t("number"), t("email"), t("role"), t("created"), t("sessions.short")], users.map(row)));
    put(count, t("users.count", { count: total, shown: number(total) }));
    more.hidden = users.length >= total || shown >= 500;
  };
  const roles = Object.fromEntries(ROLES.map((each) => [each, t(`role.${each}`)]));
  let timer;
  const search = h("form", { class: "filters", role: "search", "aria-label": t("filters") },
    field(t("email"), "query", { type: "search", required: false, maxlength: 254 }),
    choice(t("role"), "role", { "": t("any"), ...roles }, ""));
  search.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      Object.assign(asked, Object.fromEntries(new FormData(search)));
      shown = PAGE;
      busy(more, load);
    }, 250);
  });
  signal.addEventListener("abort", () => clearTimeout(timer));
  await load();
  return h("section", { class: "stack" }, h("h1", {}, t("users")), search, count, outlet, more);
}

function row(user) {
  const select = h("select", { "aria-label": t("role.of", { email: user.email }), class: "role" },
    ROLES.map((each) => h("option", { value: each, selected: each === user.role }, t(`role.${each}`))));
  select.addEventListener("change", async () => {
    const wanted = select.value;
    const done = await busy(select, async () => {
      await api("PUT", `/api/auth/users/${user.id}/role`, { body: { role: wanted } });
      user.role = wanted;
      announce(t("role.given", { email: user.email, role: t(`role.${wanted}`) }));
      return true;
    });
    select.value = user.role;
    if (done && user.id === session.user.id) await session.renew();
  });
  const end = h("button", { class: "small", "aria-label": t("sessions.end.all.of", { email: user.email }) }, t("sessions.end.all"));
  end.addEventListener("click", async () => {
    if (!(await ask(t("sessions.end.ask", { email: user.email }), t("sessions.end.all"), t("no.keep")))) return;
    await busy(end, async () => {
      const { ended } = await api("DELETE", `/api/auth/users/${user.id}/sessions`);
      announce(t("sessions.others.ended", { count: ended }));
    });
  });
  return [String(user.id), user.email, select, moment(user.created_at), end];
}
