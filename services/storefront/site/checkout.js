// The basket and placing an order.
import { api, session } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { current, money, t } from "./shared/i18n.js";
import { go } from "./shared/router.js";
import { announce, field, form, icon } from "./shared/ui.js";
import * as basket from "./basket.js";
import { picture, products } from "./catalogue.js";

const KEY = "order-under-way";

export async function basketView({ signal }) {
  const known = await products();
  const node = h("section", { class: "stack" });
  const list = h("ul", { class: "card rows basket-lines" });
  const sum = h("strong", { class: "number", "aria-live": "polite" });
  const lines = () => Object.entries(basket.contents()).filter(([id]) => known.has(id));
  const total = () => lines().reduce((all, [id, quantity]) => all + known.get(id).price * quantity, 0);

  const show = () => {
    if (!lines().length) return put(node, h("h1", {}, t("basket")), empty());
    put(sum, money(total() / 100));
    for (const row of [...list.children]) if (!(row.dataset.id in basket.contents())) row.remove();
    const shown = new Set([...list.children].map((row) => row.dataset.id));
    list.append(...lines().filter(([id]) => !shown.has(id)).map(([id, quantity]) => line(known.get(id), quantity)));
    for (const row of list.children) row.update();
  };
  basket.changes.addEventListener("changed", show, { signal });
  put(node, h("h1", {}, t("basket")), h("div", { class: "checkout" },
    list, h("div", { class: "card" }, h("p", { class: "split total" }, t("total"), sum), checkout(total))));
  show();
  return node;
}

const empty = () =>
  h("div", { class: "card empty stack" }, h("p", {}, t("basket.empty")), h("p", {}, h("a", { class: "button primary", href: "#/" }, t("basket.fill"))));

function line(product) {
  const name = product.name[current()];
  const quantity = () => basket.contents()[product.id] ?? 0;
  const shown = h("output", { class: "number", "aria-label": t("quantity.of", { name }) });
  const price = h("span", { class: "price number" });
  const step = (by, text, label) =>
    h("button", { class: "small quiet", "aria-label": t(label, { name }), onclick: () => basket.set(product.id, quantity() + by) }, text);
  const row = h(
    "li",
    { "data-id": product.id },
    picture(product.id, 84),
    h("div", { class: "grow" }, h("h2", {}, name), h("p", { class: "muted number" }, money(product.price / 100))),
    h("div", { class: "stepper" }, step(-1, "−", "less.of"), shown, step(1, "+", "more.of")),
    price,
    h("button", { class: "quiet round", "aria-label": t("remove.of", { name }), onclick: () => basket.set(product.id, 0) }, icon("cross")),
  );
  row.update = () => {
    put(shown, String(quantity()));
    put(price, money((product.price * quantity()) / 100));
  };
  return row;
}

function checkout(total) {
  if (!session.user) {
    return h("div", { class: "form" }, h("p", { class: "muted" }, t("checkout.login")),
      h("a", { class: "button primary", href: "#/login" }, t("login")), h("a", { class: "button", href: "#/register" }, t("register")));
  }
  return form({
    submit: t("order.place"),
    fields: [
      field(t("name"), "customer_name", { autocomplete: "name", maxlength: 200 }),
      field(t("email"), "customer_email", { type: "email", autocomplete: "email", value: session.user.email, hint: t("checkout.mail") }),
    ],
    work: async (values) => {
      const body = { ...values, source: "website", total_amount: total() / 100 };
      const placed = await api("POST", "/api/orders", { body, headers: { "Idempotency-Key": key(body) } });
      sessionStorage.removeItem(KEY);
      basket.clear();
      announce(t("order.thanks", { id: placed.id }));
      go(`/orders/${placed.id}`);
    },
  });
}

/** The same for the same order, also after a reload: pressed twice, or sent again after a bad line, it is placed once. */
function key(body) {
  const text = JSON.stringify([session.user.id, basket.contents(), body]);
  const [of, found] = JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  if (of === text) return found;
  const fresh = [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem(KEY, JSON.stringify([text, fresh]));
  return fresh;
}
