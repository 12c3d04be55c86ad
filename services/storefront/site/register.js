// A new account; a new password for an old one.
import { api, session } from "./shared/api.js";
import { h } from "./shared/dom.js";
import { current, t } from "./shared/i18n.js";
import { go, message } from "./shared/router.js";
import { announce, field, form } from "./shared/ui.js";

const page = (title, text, ...below) =>
  h("section", { class: "narrow" }, h("h1", {}, title), text && h("p", { class: "muted centred" }, text), below);

const newPassword = (name) =>
  field(t("password"), name, { type: "password", autocomplete: "new-password", hint: t("password.rules") });

const email = () => field(t("email"), "email", { type: "email", autocomplete: "username", autocapitalize: "none" });

export async function register() {
  return page(
    t("register.title"),
    t("register.text"),
    form({
      class: "card",
      submit: t("register"),
      fields: [email(), newPassword("password")],
      work: async (values) => {
        await api("POST", "/api/auth/register", { body: { ...values, language: current() } });
        announce(t("registered"));
        await session.login(values.email, values.password);
      },
      told: (error) => error.status === 409 && t("error.taken"),
    }),
    h("p", { class: "muted centred" }, t("register.have"), " ", h("a", { href: "#/login" }, t("login"))),
  );
}

export async function forgot() {
  const node = page(
    t("forgot.title"),
    t("forgot.text"),
    form({
      class: "card",
      submit: t("forgot.send"),
      fields: [email()],
      work: async (body) => {
        await api("POST", "/api/auth/password/forgot", { body });
        node.replaceWith(message(t("forgot.sent"), t("forgot.sent.text")));
      },
    }),
  );
  return node;
}

/** `token` is of the link in the mail. */
export async function reset(token) {
  if (!token) return message(t("reset.title"), t("reset.link"), h("a", { class: "button primary", href: "#/forgot" }, t("forgot.send")));
  return page(
    t("reset.title"),
    "",
    form({
      class: "card",
      submit: t("reset"),
      fields: [newPassword("new_password")],
      work: async (values) => {
        await api("POST", "/api/auth/password/reset", { body: { token, ...values } });
        announce(t("password.changed"));
        await session.logout(); // the reset ended every session
        go("/login");
      },
      told: (error) => error.body.fields?.token && t("reset.link"),
    }),
  );
}
