// A table that a narrow screen scrolls, with keys too.
import { h } from "./shared/dom.js";
import { t } from "./shared/i18n.js";

/** `columns`: headings, those of numbers in a list of their own; `rows`: lists of cells. */
export function table(name, columns, rows) {
  if (!rows.length) return h("p", { class: "empty" }, t("none"));
  const numeric = columns.map(Array.isArray);
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": name, tabindex: "0" },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map((each, at) => h("th", { scope: "col", class: numeric[at] && "number" }, each)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((each, at) => h("td", { class: numeric[at] && "number" }, each)))))),
  );
}
