// Figures of a period, and reports as files.
import { api } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { date, money, moment, number, t } from "./shared/i18n.js";
import { announce, busy, choice, field, form } from "./shared/ui.js";
import { columns, rows } from "./chart.js";
import { table } from "./table.js";

const DAYS = 30;
const TYPES = ["daily", "weekly", "monthly", "custom"];

export async function reports({ signal }) {
  const period = { start: day("UTC"), end: day("UTC"), interval: "day" };
  // Days are the shop's, wherever somebody looks from; where it is, each answer says.
  const { time_zone: zone } = await api("GET", "/api/reports/series", { query: period, signal });
  Object.assign(period, { start: day(zone, 1 - DAYS), end: day(zone) });
  const figures = h("div", { class: "stack", "aria-live": "polite" });
  const files = h("div", {});
  const load = async () => {
    const [stats, series] = await Promise.all([
      api("GET", "/api/reports/stats", { query: { start: period.start, end: period.end }, signal }),
      api("GET", "/api/reports/series", { query: period, signal }),
    ]);
    put(figures, tiles(stats), charts(stats, series));
  };
  const list = async () => put(files, table(t("reports.files"), [t("report"), t("period"), t("created"), [t("figure.orders")], [t("order.amount")], t("files")],
    (await api("GET", "/api/reports", { query: { limit: 50 }, signal })).map((each) => file(each, zone))));

  await Promise.all([load(), list()]);
  return h("section", { class: "stack" }, h("h1", {}, t("reports")), choose(period, load), figures,
    h("section", { class: "card" }, h("h2", {}, t("reports.files")), generate(period, list), files));
}

function choose(period, load) {
  const node = h("form", { class: "filters", "aria-label": t("period") },
    field(t("from"), "start", { type: "date", value: period.start }),
    field(t("to"), "end", { type: "date", value: period.end }),
    choice(t("interval"), "interval", { day: t("interval.day"), week: t("interval.week"), month: t("interval.month") }, period.interval));
  node.addEventListener("submit", (event) => event.preventDefault());
  node.addEventListener("change", () => {
    const values = Object.fromEntries(new FormData(node));
    if (!values.start || !values.end || values.start > values.end) return;
    Object.assign(period, values);
    busy(node.querySelector("select"), load);
  });
  return node;
}

const tiles = (stats) =>
  h("dl", { class: "tiles" }, [
    [t("figure.orders"), number(stats.total_orders)],
    [t("figure.amount"), money(stats.total_amount)],
    [t("figure.average"), money(stats.average_amount)],
    [t("figure.status"), stats.most_frequent_status ? t(`status.${stats.most_frequent_status}`) : "–"],
  ].map(([name, value]) => h("div", { class: "card" }, h("dt", {}, name), h("dd", { class: "number" }, value))));

function charts(stats, series) {
  const long = series.interval === "month" ? { month: "long", year: "numeric" } : { dateStyle: "medium" };
  const short = series.interval === "month" ? { month: "short" } : { day: "numeric", month: "short" };
  // Days of the shop's calendar, not moments: noon is the same day wherever somebody looks from.
  const points = series.points.map((each) => ({ at: `${each.start}T12:00:00`, ...each }));
  const along = (value, text) => points.map((each) => ({ label: date(each.at, long), short: date(each.at, short), value: value(each), text: text(each) }));
  const compact = (value) => number(value >= 10_000 ? Math.round(value / 1000) : value) + (value >= 10_000 ? t("thousand") : "");
  return h("div", { class: "charts" },
    columns(t("chart.amount"), along((each) => each.total_amount, (each) => money(each.total_amount)), { unit: t("figure.amount"), axis: compact }),
    columns(t("chart.orders"), along((each) => each.total_orders, (each) => number(each.total_orders)), { unit: t("figure.orders"), axis: compact }),
    rows(t("chart.sources"), stats.sources.map((each) => ({ label: t(`source.${each.source_name}`), value: each.amount, text: money(each.amount) })), { unit: t("figure.amount") }),
    rows(t("chart.statuses"), stats.statuses.map((each) => ({ label: t(`status.${each.status}`), value: each.count, text: number(each.count), tone: each.status })), { unit: t("figure.orders") }));
}

function generate(period, list) {
  const types = Object.fromEntries(TYPES.map((each) => [each, t(`report.${each}`)]));
  return form({
    class: "filters",
    submit: t("report.make"),
    fields: [choice(t("report"), "type", types, "daily")],
    work: async ({ type }) => {
      const body = type === "custom" ? { type, period_start: period.start, period_end: period.end } : { type };
      await api("POST", "/api/reports/generate", { body });
      announce(t("report.made"));
      await list();
    },
  });
}

function file(report, zone) {
  const shown = (time) => date(time, { dateStyle: "medium", timeZone: zone });
  const last = new Date(new Date(report.period_end) - 1); // the end itself is the next period's
  return [
    t(`report.${report.type}`),
    `${shown(report.period_start)} – ${shown(last)}`,
    moment(report.created_at),
    number(report.total_orders),
    money(report.total_amount),
    h("span", { class: "actions" }, report.files.map((each) => {
      const button = h("button", { class: "small", onclick: () => busy(button, () => download(report, each, zone)),
        "aria-label": t("report.download", { format: each.format.toUpperCase(), id: report.id }) }, each.format.toUpperCase());
      return button;
    })),
  ];
}

/** A link could not say who asks. */
async function download(report, { url, format }, zone) {
  const address = URL.createObjectURL(await api("GET", url, { wants: "blob" }));
  h("a", { href: address, download: `report-${report.type}-${dayOf(report.period_start, zone)}-${report.id}.${format}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** The day of a time there, as YYYY-MM-DD. */
const dayOf = (time, zone) => new Intl.DateTimeFormat("en-CA", { timeZone: zone, dateStyle: "short" }).format(new Date(time));

/** Today there and so many days later, as YYYY-MM-DD. */
function day(zone, later = 0) {
  const [year, month, date] = dayOf(Date.now(), zone).split("-");
  return new Date(Date.UTC(year, month - 1, Number(date) + later)).toISOString().slice(0, 10);
}
