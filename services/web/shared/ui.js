// Pieces that both sites are made of.
import { ApiError } from "./api.js";
import { h, put, s } from "./dom.js";
import { current, LANGUAGES, setLanguage, t } from "./i18n.js";

const PATHS = {
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5Z",
  bag: "M6 8h12l1 12H5L6 8ZM9 10V6a3 3 0 0 1 6 0v4",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4 20c1-4 4-5.5 8-5.5s7 1.5 8 5.5",
  bell: "M6 16V11a6 6 0 1 1 12 0v5l1.5 2h-15L6 16ZM10 20.500a2.2 2.2 0 0 0 4 0",
  arrow: "M5 12h14M13 6l6 6-6 6",
  check: "M5 12.5 10 17.5 19.5 7",
  cross: "M6 6l12 12M18 6 6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
};

export const icon = (name) =>
  s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: PATHS[name] }));

const NOTES = 2; // at once

/** Says something to those who listen, and for a while to those who look. `tone`: "good" or "bad". */
export function announce(text, tone = "good") {
  const place = document.getElementById("announcements");
  const note = h("p", { class: `note ${tone}` }, text);
  place.append(note);
  while (place.children.length > NOTES) place.firstChild.remove();
  setTimeout(() => note.remove(), tone === "bad" ? 9000 : 5000);
}

/** Runs what a button does; it cannot be pressed again meanwhile, and a failure is told. */
export async function busy(button, work) {
  button.setAttribute("aria-busy", "true");
  button.disabled = true;
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    announce(error.text, "bad");
  } finally {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

let fields = 0;

/** A labelled input; `hint` stands below, and there mistakes are told. */
export function field(label, name, { hint, ...attributes } = {}) {
  const id = `field-${++fields}`;
  const input = h("input", { id, name, required: true, "aria-describedby": `${id}-hint`, ...attributes });
  const box = attributes.type === "password" ? h("span", { class: "revealing" }, input, reveal(input)) : input;
  return h(
    "div",
    { class: "field", "data-name": name },
    h("label", { for: id }, label),
    box,
    h("p", { id: `${id}-hint`, class: "hint", "data-hint": hint ?? "" }, hint ?? ""),
  );
}

function reveal(input) {
  const button = h("button", { type: "button", class: "quiet small", "aria-pressed": "false" }, t("password.show"));
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
    put(button, t(shown ? "password.hide" : "password.show"));
  });
  return button;
}

/** `{label: choice value -> text}` as a select of the same look as `field`. */
export function choice(label, name, options, value, onchange) {
  const id = `field-${++fields}`;
  const items = Object.entries(options).map(([each, text]) => h("option", { value: each, selected: each === value }, text));
  return h("div", { class: "field" }, h("label", { for: id }, label), h("select", { id, name, onchange }, items));
}

/**
 * A form whose `work(values)` may throw ApiError: its fields are marked, the rest is told above the button.
 * `told(error)` may give a better text.
 */
export function form({ fields, submit, work, told = () => null, class: name = "" }) {
  const alert = h("p", { class: "alert", role: "alert" });
  const button = h("button", { class: "primary" }, submit);
  const node = h("form", { class: `form ${name}`, novalidate: true }, fields, alert, button);
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    const values = Object.fromEntries(new FormData(node));
    const missing = [...node.elements].filter((each) => each.required && !each.value.trim());
    mark(node, Object.fromEntries(missing.map((each) => [each.name, t("error.required")])));
    put(alert);
    if (missing.length) return missing[0].focus();
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    try {
      await work(values);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      mark(node, error.body.fields ?? {});
      put(alert, told(error) ?? error.text);
      node.querySelector("[aria-invalid]")?.focus();
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  });
  return node;
}

function mark(form, mistakes) {
  for (const box of form.querySelectorAll(".field[data-name]")) {
    const mistake = mistakes[box.dataset.name];
    const hint = box.querySelector(".hint");
    box.classList.toggle("wrong", Boolean(mistake));
    put(hint, mistake ? t(mistake) : hint.dataset.hint);
    const input = box.querySelector("input");
    if (mistake) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}

/** Asks in a dialog; true if the answer is yes. */
export function ask(question, yes, no) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-label": question },
      h("form", { method: "dialog" }, h("p", {}, question), h("p", { class: "actions" },
        h("button", { value: "no", autofocus: true }, no), h("button", { class: "primary danger", value: "yes" }, yes))),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const badge = (status) => h("span", { class: `badge ${status}` }, t(`status.${status}`));

/** An address that breaks before its @ where it has to. */
export const mailbox = (email) => [email.slice(0, email.lastIndexOf("@")), h("wbr"), email.slice(email.lastIndexOf("@"))];

/** A description list of [term, what it is]. */
export const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.map(([term, ...what]) => h("div", {}, h("dt", {}, term), h("dd", {}, what))));

/** Language and colours. */
export function preferences() {
  const language = h(
    "select",
    { "aria-label": t("language"), class: "quiet language", onchange: (event) => setLanguage(event.target.value) },
    Object.entries(LANGUAGES).map(([code, name]) => h("option", { value: code, selected: code === current(), lang: code }, name)),
  );
  return h("div", { class: "preferences" }, language, themeSwitch());
}

const THEME = "theme";
const root = document.documentElement;
const chosen = localStorage.getItem(THEME);
if (chosen) root.dataset.theme = chosen;
const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function themeSwitch() {
  const button = h("button", { class: "quiet round", type: "button" });
  const show = () => {
    put(button, icon(dark() ? "sun" : "moon"));
    button.setAttribute("aria-label", t(dark() ? "theme.light" : "theme.dark"));
    button.title = button.getAttribute("aria-label");
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem(THEME, root.dataset.theme);
    show();
  });
  show();
  return button;
}

/** Shows how a feed is connected. */
export function liveness(feed, signal) {
  const node = h("span", { class: "liveness", title: t("live.title") });
  const show = () => {
    node.dataset.state = feed.state;
    put(node, t(`live.${feed.state}`));
  };
  feed.addEventListener("state", show, { signal });
  show();
  return node;
}
