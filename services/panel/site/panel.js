// The warehouse's panel: what staff see and do.
import { session } from "./shared/api.js";
import { account, login } from "./shared/account.js";
import { h, put } from "./shared/dom.js";
import { t } from "./shared/i18n.js";
import { message, place, Router } from "./shared/router.js";
import { announce, icon, mailbox, preferences } from "./shared/ui.js";
import "./shared/texts.js";
import "./texts.js";
import { board } from "./board.js";
import { health } from "./health.js";
import { feed } from "./live.js";
import { mail } from "./mail.js";
import * as news from "./notifications.js";
import { order, orders } from "./orders.js";
import { reports } from "./reports.js";
import { users } from "./users.js";

const STAFF = ["admin", "employee"];
const ICON = new URL("./icon.svg", import.meta.url);
const PLACES = [
  ["/", "board", STAFF],
  ["/orders", "orders", STAFF],
  ["/reports", "reports", STAFF],
  ["/notifications", "notifications", STAFF],
  ["/users", "users", ["admin"]],
  ["/mail", "mail", ["admin"]],
  ["/health", "health", STAFF],
];

const header = h("header", { class: "top side" });
const main = h("main", { id: "main", tabindex: "-1" });

const router = new Router(
  main,
  {
    "/": { view: board, needs: STAFF },
    "/orders": { view: orders, needs: STAFF },
    "/orders/:id": { view: order, needs: STAFF },
    "/reports": { view: reports, needs: STAFF },
    "/notifications": { view: news.notifications, needs: STAFF },
    "/users": { view: users, needs: ["admin"] },
    "/mail": { view: mail, needs: ["admin"] },
    "/health": { view: health, needs: STAFF },
    "/account": { view: account, needs: [...STAFF, "customer"] },
  },
  { site: () => t("site"), login: async () => (session.user ? refused() : login()) },
);

function refused() {
  const text = session.is("customer") ? t("staff.only") : t("error.403");
  return message(t("staff.title"), text,
    h("a", { class: "button primary", href: "/" }, t("to.shop")), h("button", { onclick: () => session.logout() }, t("logout")));
}

function frame() {
  const places = PLACES.filter(([, , roles]) => session.is(...roles));
  put(header, h("div", { class: "inner" },
    h("a", { class: "brand", href: "#/" }, h("img", { src: ICON, alt: "" }), t("site")),
    places.length > 0 && h("nav", { class: "main scroll", "aria-label": t("menu") }, places.map(([path, name]) =>
      h("a", { href: `#${path}` }, t(name), name === "notifications" && h("span", { class: "count number", id: "unread" })))),
    h("div", { class: "who" },
      session.user && h("a", { class: "person", href: "#/account", title: session.user.email }, icon("user"),
        h("span", { class: "grow" }, mailbox(session.user.email), h("span", { class: "muted" }, t(`role.${session.user.role}`)))),
      preferences())));
  document.body.classList.toggle("outside", !places.length);
  put(document.querySelector(".skip"), t("skip"));
  unread();
  marked();
}

function unread() {
  const node = document.getElementById("unread");
  if (!node) return;
  const count = news.unread();
  node.hidden = !count;
  put(node, count > 99 ? "99+" : String(count), h("span", { class: "hidden" }, ` ${t("unread")}`));
}

function marked() {
  for (const each of header.querySelectorAll("nav a")) {
    const target = each.hash.slice(1);
    const here = target === "/" ? place().path === "/" : place().path.startsWith(target);
    if (here) {
      each.setAttribute("aria-current", "page");
      each.parentNode.scrollTo({ left: each.offsetLeft - each.offsetWidth });
    } else each.removeAttribute("aria-current");
  }
}

function changed() {
  const staff = session.is(...STAFF);
  for (const each of [feed, news.feed]) {
    each.stop();
    if (staff) each.start();
  }
  if (!staff) news.forget();
  frame();
}

session.addEventListener("changed", () => {
  changed();
  router.show(true);
});
session.addEventListener("ended", () => announce(t("session.ended"), "bad"));
document.addEventListener("language", () => {
  frame();
  router.show();
});
document.addEventListener("shown", marked);
news.changes.addEventListener("changed", unread);

const skip = (event) => {
  event.preventDefault(); // its address would be another view's
  main.focus();
};
document.body.replaceChildren(
  h("a", { class: "skip hidden", href: "#main", onclick: skip }),
  header,
  main,
  h("div", { id: "announcements", role: "status", "aria-live": "polite" }),
);
await session.restore();
if (!session.user) frame();
await router.show();
