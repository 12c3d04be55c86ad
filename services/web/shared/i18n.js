// English and Polish: texts, plurals, money, times.

const KEY = "language";
const LOCALES = { en: "en-GB", pl: "pl-PL" };
export const LANGUAGES = { en: "English", pl: "Polski" };

const texts = { en: {}, pl: {} };
let language = localStorage.getItem(KEY);
if (!(language in LANGUAGES)) {
  language = navigator.languages.some((each) => each.toLowerCase().startsWith("pl")) ? "pl" : "en";
}
document.documentElement.lang = language;

export const current = () => language;

/** Adds texts: `{en: {key: "Hello, {name}"}, pl: {...}}`. */
export function speak(more) {
  for (const each of Object.keys(LANGUAGES)) Object.assign(texts[each], more[each]);
}

/** Tells the document `language`; who shows texts shows them again. */
export function setLanguage(wanted) {
  language = wanted;
  localStorage.setItem(KEY, wanted);
  document.documentElement.lang = wanted;
  document.dispatchEvent(new Event("language"));
}

/** The text; of a list of forms the one that `values.count` wants. An unknown key shows itself. */
export function t(key, values = {}) {
  let text = texts[language][key] ?? texts.en[key] ?? key;
  if (typeof text === "object") text = text[new Intl.PluralRules(language).select(values.count)] ?? text.other;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** Whether there is a text of this name. */
export const known = (key) => key in texts[language];

export const number = (value) => new Intl.NumberFormat(LOCALES[language]).format(value);

export const money = (value) => new Intl.NumberFormat(LOCALES[language], { style: "currency", currency: "PLN" }).format(value);

export const date = (value, style = { dateStyle: "medium" }) =>
  new Intl.DateTimeFormat(LOCALES[language], style).format(new Date(value));

export const moment = (value) => date(value, { dateStyle: "medium", timeStyle: "short" });

/** The time of today, the day of any other. */
export const brief = (value) => {
  const today = new Date(value).toDateString() === new Date().toDateString();
  return date(value, today ? { timeStyle: "short" } : { day: "numeric", month: "short" });
};
