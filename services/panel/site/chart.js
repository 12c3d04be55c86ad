// Charts of plain elements: they follow the page's width and colours. What they show is also there as a table.
import { h } from "./shared/dom.js";
import { t } from "./shared/i18n.js";
import { table } from "./table.js";

const TICKS = 4;

/** Upright bars along time. `points`: {label, short, value, text}; `short` stands below a bar. */
export function columns(title, points, { unit, axis }) {
  const step = round(Math.max(...points.map((each) => each.value), TICKS) / TICKS);
  const top = step * TICKS;
  const every = Math.ceil(points.length / 8);
  const ticks = Array.from({ length: TICKS + 1 }, (_, at) => step * (TICKS - at));
  const labelled = (at) => at % every === 0 && at + every / 2 <= points.length;
  const plot = h(
    "div",
    { class: "plot", "aria-hidden": "true" },
    h("div", { class: "axis number" }, ticks.map((each) => h("span", {}, axis(each)))),
    h("div", { class: "bars" }, points.map((each) => sized(h("span", { class: "bar", title: `${each.label}: ${each.text}` }), each.value / top))),
    h("div", { class: "labels" }, points.map((each, at) => h("span", {}, labelled(at) ? each.short : ""))),
  );
  return figure(title, plot, unit, points);
}

/** Lying bars, one a name. `points` may have a `tone`: a class that gives its colour. */
export function rows(title, points, { unit }) {
  const top = Math.max(...points.map((each) => each.value), 1);
  const lines = points.map((each) =>
    h("li", {}, h("span", {}, each.label), h("span", { class: "number" }, each.text),
      h("span", { class: `track ${each.tone ?? ""}` }, sized(h("span", { class: "bar" }), each.value / top))));
  return figure(title, h("ul", { class: "lines", "aria-hidden": "true" }, lines), unit, points);
}

function figure(title, picture, unit, points) {
  const values = points.map((each) => [each.label, each.text]);
  return h("figure", { class: "card chart" }, h("figcaption", {}, h("h2", {}, title)),
    points.length ? [picture, h("details", {}, h("summary", {}, t("as.table")), table(title, ["", [unit]], values))] : h("p", { class: "empty" }, t("none")));
}

function sized(node, share) {
  node.style.setProperty("--share", String(share)); // by script: the page allows no styles in markup
  return node;
}

/** The next number that is easily read. */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].find((each) => each * power >= value) * power;
}
