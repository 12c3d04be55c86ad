// Logging in, and what people may do with their own account.
import { api, session } from "./api.js";
import { h, put } from "./dom.js";
import { moment, t } from "./i18n.js";
import { announce, busy, facts, field, form, mailbox } from "./ui.js";

/** `below` is shown under the form. */
export function login(below = []) {
  return h(
    "section",
    { class: "narrow" },
    h("h1", {}, t("login.title")),
    form({
      class: "card",
      submit: t("login"),
      fields: [
        field(t("email"), "email", { type: "email", autocomplete: "username", autocapitalize: "none" }),
        field(t("password"), "password", { type: "password", autocomplete: "current-password" }),
      ],
      work: ({ email, password }) => session.login(email, password),
      told: (error) => error.status === 401 && t("error.login"),
    }),
    below,
  );
}

export async function account({ signal }) {
  const list = h("ul", { class: "rows" });
  const others = h("button", { onclick: () => busy(others, endOthers) }, t("sessions.others"));

  const load = async () => {
    const { sessions } = await api("GET", "/api/auth/sessions", { signal });
    put(list, sessions.map(row));
    others.hidden = sessions.length < 2;
  };
  const endOthers = async () => {
    const { ended } = await api("DELETE", "/api/auth/sessions");
    announce(t("sessions.others.ended", { count: ended }));
    await load();
  };
  const row = (each) => {
    const end = h("button", { class: "small", "aria-label": t("sessions.end.of", { client: each.client }) }, t("sessions.end"));
    end.addEventListener("click", () =>
      busy(end, async () => {
        await api("DELETE", `/api/auth/sessions/${each.id}`);
        announce(t("sessions.ended"));
        await load();
      }),
    );
    const renewed = each.refreshed_at && `, ${t("sessions.seen", { time: moment(each.refreshed_at) })}`;
    return h(
      "li",
      {},
      h("div", { class: "grow" }, h("strong", {}, browser(each.user_agent)), ` · ${each.client}`,
        h("p", { class: "muted" }, t("sessions.since", { time: moment(each.created_at) }), renewed)),
      each.current ? h("span", { class: "tag" }, t("sessions.this")) : end,
    );
  };
  await load();

  const change = form({
    submit: t("password.change"),
    fields: [
      field(t("password.old"), "old_password", { type: "password", autocomplete: "current-password" }),
      field(t("password.new"), "new_password", { type: "password", autocomplete: "new-password", hint: t("password.rules") }),
    ],
    work: async (values) => {
      await api("POST", "/api/auth/password", { body: values });
      change.reset();
      announce(t("password.changed"));
      await load();
    },
  });
  return h(
    "section",
    { class: "middle stack" },
    h("h1", {}, t("account")),
    h("div", { class: "card" },
      facts([[t("email"), mailbox(session.user.email)], [t("order.status"), t("account.role", { role: t(`role.${session.user.role}`) })]]),
      h("p", { class: "actions" }, h("button", { onclick: () => session.logout() }, t("logout")))),
    h("section", { class: "card" },
      h("h2", {}, t("sessions")), h("p", { class: "muted" }, t("sessions.text")), list, h("p", { class: "actions" }, others)),
    h("section", { class: "card" }, h("h2", {}, t("password.change")), change),
  );
}

/** The program that a user agent means, as people call it. */
function browser(agent) {
  const found = ["Edg", "OPR", "Firefox", "Chrome", "Safari"].find((each) => agent.includes(`${each}/`));
  return { Edg: "Edge", OPR: "Opera" }[found] ?? found ?? (agent.split(/[/ ]/)[0] || "?");
}
