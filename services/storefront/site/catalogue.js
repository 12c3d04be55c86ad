// The products, and the page that shows them.
import { h } from "./shared/dom.js";
import { current, money, t } from "./shared/i18n.js";
import { announce } from "./shared/ui.js";
import * as basket from "./basket.js";

let loaded;

/** Id -> {id, name, text, price}; name and text by language, price in grosze. */
export function products() {
  loaded ??= fetch(new URL("./catalogue.json", import.meta.url))
    .then((answer) => answer.json())
    .then((found) => new Map(found.map((each) => [each.id, each])));
  return loaded;
}

export const picture = (id, size) =>
  h("img", { src: new URL(`./pictures/${id}.svg`, import.meta.url), alt: "", width: size, height: (size * 5) / 6, loading: "lazy" });

export async function catalogue() {
  const all = [...(await products()).values()];
  return h(
    "div",
    { class: "stack" },
    h("section", { class: "hero" }, h("h1", {}, t("hero")), h("p", {}, t("hero.text"))),
    h("ul", { class: "products" }, all.map(card)),
  );
}

function card(product) {
  const language = current();
  const name = product.name[language];
  const add = () => {
    basket.add(product.id);
    announce(t("added", { name }));
  };
  return h(
    "li",
    { class: "product" },
    picture(product.id, 240),
    h("div", { class: "text" },
      h("h2", {}, name), h("p", { class: "muted" }, product.text[language]),
      h("div", { class: "split" },
        h("span", { class: "price number" }, money(product.price / 100)),
        h("button", { class: "small", onclick: add, "aria-label": t("add.of", { name }) }, t("add")))),
  );
}
