// The shop: catalogue, basket, the customer's orders and account.
import { session } from "./shared/api.js";
import { account, login } from "./shared/account.js";
import { h, put } from "./shared/dom.js";
import { t } from "./shared/i18n.js";
import { go, place, Router } from "./shared/router.js";
import { announce, icon, preferences } from "./shared/ui.js";
import "./shared/texts.js";
import "./texts.js";
import * as basket from "./basket.js";
import { basketView } from "./checkout.js";
import { catalogue } from "./catalogue.js";
import { feed, order, orders } from "./orders.js";
import { forgot, register, reset } from "./register.js";

const EVERYBODY = ["customer", "employee", "admin"];
const ICON = new URL("./icon.svg", import.meta.url);

/** Links of mails: /reset#token=..., /?order=12. The token does not stay in the address, nor in the history. */
function fromMail() {
  const token = /^#token=(.+)$/.exec(location.hash)?.[1];
  const id = new URLSearchParams(location.search).get("order");
  if (token) history.replaceState(null, "", "/#/reset");
  else if (id) history.replaceState(null, "", `/#/orders/${encodeURIComponent(id)}`);
  else if (location.pathname !== "/") history.replaceState(null, "", `/${location.hash}`);
  return token && decodeURIComponent(token);
}

const token = fromMail();
const header = h("header", { class: "top" });
const main = h("main", { id: "main", tabindex: "-1", class: "inner" });
const footer = h("footer", { class: "bottom" });

const loginView = () => login([
  h("p", { class: "muted centred" }, t("login.new"), " ", h("a", { href: "#/register" }, t("register"))),
  h("p", { class: "muted centred" }, h("a", { href: "#/forgot" }, t("forgot"))),
]);

const router = new Router(
  main,
  {
    "/": { view: catalogue },
    "/basket": { view: basketView },
    "/login": { view: async () => loginView() },
    "/register": { view: register },
    "/forgot": { view: forgot },
    "/reset": { view: () => reset(token) },
    "/orders": { view: orders, needs: EVERYBODY },
    "/orders/:id": { view: order, needs: EVERYBODY },
    "/account": { view: account, needs: EVERYBODY },
  },
  { site: () => "Magazyn", login: loginView },
);

function frame() {
  const link = (path, ...children) => h("a", { href: `#${path}` }, ...children);
  const staff = session.is("admin", "employee");
  put(header, h("div", { class: "inner" },
    h("a", { class: "brand", href: "#/" }, h("img", { src: ICON, alt: "" }), "Magazyn"),
    h("nav", { class: "main", "aria-label": t("menu") },
      link("/", t("shop")), session.user && link("/orders", t("orders")), staff && h("a", { href: "/panel/" }, t("panel"))),
    preferences(),
    h("a", { class: "button quiet round", href: session.user ? "#/account" : "#/login",
      "aria-label": t(session.user ? "account" : "login"), title: session.user?.email ?? t("login") }, icon("user")),
    h("a", { class: "button quiet basket", href: "#/basket", id: "basket-link" }),
  ));
  put(footer, h("div", { class: "inner" }, h("p", {}, t("footer")), h("p", {}, t("footer.demo"))));
  put(document.querySelector(".skip"), t("skip"));
  counted();
  marked();
}

function counted() {
  const count = basket.count();
  const link = document.getElementById("basket-link");
  link.setAttribute("aria-label", t("basket.count", { count }));
  put(link, icon("bag"), count ? h("span", { class: "count number" }, String(count)) : null);
}

function marked() {
  for (const each of header.querySelectorAll("nav a")) {
    const target = each.hash.slice(1);
    const here = each.pathname === location.pathname && (target === "/" ? place().path === "/" : place().path.startsWith(target));
    if (here) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
}

function skip(event) {
  event.preventDefault(); // its address would be another view's
  main.focus();
}

session.addEventListener("changed", () => {
  if (session.user) feed.start();
  else feed.stop();
  frame();
  if (session.user && ["/login", "/register"].includes(place().path)) go(basket.count() ? "/basket" : "/");
  else router.show();
});
session.addEventListener("ended", () => announce(t("session.ended"), "bad"));
document.addEventListener("language", () => {
  frame();
  router.show();
});
document.addEventListener("shown", marked);
basket.changes.addEventListener("changed", counted);

document.body.replaceChildren(
  h("a", { class: "skip hidden", href: "#main", onclick: skip }),
  header,
  main,
  footer,
  h("div", { id: "announcements", role: "status", "aria-live": "polite" }),
);
await session.restore();
frame();
await router.show();
