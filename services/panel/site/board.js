// The board: a column a status, a card an order. Cards are moved by dragging, by their button, or by keys.
import { api, ApiError } from "./shared/api.js";
import { h, put } from "./shared/dom.js";
import { brief, moment, money, number, t } from "./shared/i18n.js";
import { go } from "./shared/router.js";
import { announce, busy, icon, liveness } from "./shared/ui.js";
import { asked, bar, read } from "./filters.js";
import { move, next, STATUSES } from "./life.js";
import { feed } from "./live.js";

const PAGE = 40; // cards of a column
const GATHER = 200; // milliseconds: updates that come together are read together
const FEW = 5; // orders that are read one by one

export async function board({ query, signal }) {
  const found = new Board(read(query), signal);
  await found.load();
  return found.node;
}

class Board {
  #signal;
  #filters;
  #columns = new Map();
  #cards = new Map(); // id -> {order, node}
  #changed = new Set();
  #timer;
  #loading = 0;

  constructor(filters, signal) {
    this.#signal = signal;
    this.#filters = filters;
    for (const status of STATUSES) this.#columns.set(status, new Column(status, this));
    const help = h("p", { class: "hidden", id: "board-help" }, t("board.keys"));
    this.node = h(
      "section",
      { class: "board-page" },
      h("div", { class: "split" }, h("h1", {}, t("board")), liveness(feed, signal)),
      bar(filters, (chosen) => {
        this.#filters = chosen;
        this.load().catch(tell);
      }),
      help,
      h("div", { class: "board" }, [...this.#columns.values()].map((each) => each.node)),
      h("p", { class: "muted keys" }, t("board.keys")),
    );
    this.node.addEventListener("keydown", (event) => this.#key(event));
    feed.addEventListener("message", ({ detail }) => this.#told(detail.payload.order_id), { signal });
    feed.addEventListener("sync", () => this.load().catch(() => {}), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
  }

  /** All columns as they are now. */
  async load() {
    const turn = ++this.#loading;
    const columns = [...this.#columns.values()];
    const answers = await Promise.all(columns.map((each) => this.#page(each)));
    if (turn !== this.#loading) return; // somebody has asked for something else meanwhile
    const before = new Set(this.#cards.keys());
    const orders = answers.flatMap(([found]) => found);
    const now = new Set(orders.map((each) => each.id));
    for (const id of before) if (!now.has(id)) this.#remove(id);
    for (const each of orders) this.#show(each, before.size > 0 && !before.has(each.id));
    columns.forEach((each, index) => each.count(answers[index][1]));
  }

  async more(column) {
    column.limit += PAGE;
    await this.load();
  }

  /** Asks the service, and shows what it made of it. */
  async move(id, status) {
    const { order, node } = this.#cards.get(id);
    if (node.getAttribute("aria-busy") || !next(order.status).includes(status)) return;
    node.setAttribute("aria-busy", "true");
    try {
      if (await move(id, status)) await this.#read([id]);
    } catch (error) {
      tell(error);
      await this.#read([id]).catch(tell);
    } finally {
      this.#cards.get(id)?.node.removeAttribute("aria-busy");
    }
  }

  dragging(id) {
    const status = this.#cards.get(id)?.order.status;
    for (const [each, column] of this.#columns) column.invite(status && next(status).includes(each));
  }

  #page(column) {
    const query = { ...asked(this.#filters), status: column.status, sort: "-updated_at", limit: column.limit };
    return api("GET", "/api/orders", { query, signal: this.#signal, wants: "list" });
  }

  #told(id) {
    this.#changed.add(id);
    this.#timer ??= setTimeout(async () => {
      const ids = [...this.#changed];
      this.#changed.clear();
      this.#timer = undefined;
      // Only the service knows what a filter lets through.
      const one = ids.length <= FEW && !Object.values(this.#filters).some(Boolean);
      await (one ? this.#read(ids) : this.load()).catch(() => {});
    }, GATHER);
  }

  async #read(ids) {
    const found = await Promise.all(ids.map((id) => api("GET", `/api/orders/${id}`, { signal: this.#signal })));
    for (const order of found) {
      const old = this.#cards.get(order.id)?.order.status;
      if (old === order.status) continue;
      if (!old && order.status !== "new") return this.load(); // it comes from below what is shown
      if (old) this.#columns.get(old).count(-1, true);
      this.#columns.get(order.status).count(1, true);
      this.#show(order, true);
    }
  }

  #show(order, arrived) {
    const held = this.#cards.get(order.id);
    if (held && held.order.updated_at === order.updated_at) return;
    const focused = held?.node.contains(document.activeElement);
    held?.node.remove();
    const node = card(order, this);
    node.classList.toggle("arrived", arrived);
    this.#cards.set(order.id, { order, node });
    this.#columns.get(order.status).place(node, order.updated_at);
    if (focused) node.querySelector("a").focus();
  }

  #remove(id) {
    this.#cards.get(id).node.remove();
    this.#cards.delete(id);
  }

  #key(event) {
    const node = event.target.closest("li[data-order]");
    if (!node || event.altKey || event.ctrlKey || event.metaKey) return;
    const id = Number(node.dataset.order);
    const { status } = this.#cards.get(id).order;
    if (event.key === "Delete") this.move(id, "cancelled");
    else if (event.shiftKey && event.key === "ArrowRight") this.move(id, next(status)[0]);
    else if (!event.shiftKey && event.key.startsWith("Arrow")) this.#walk(node, status, event.key);
    else return;
    event.preventDefault();
  }

  /** The focus goes to the card beside; past empty columns. */
  #walk(node, status, key) {
    const beside = { ArrowUp: node.previousElementSibling, ArrowDown: node.nextElementSibling };
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    let target = beside[key];
    if (step) {
      const row = [...node.parentElement.children].indexOf(node);
      for (let at = STATUSES.indexOf(status) + step; STATUSES[at] && !target; at += step) {
        const cards = this.#columns.get(STATUSES[at]).cards;
        target = cards[Math.min(row, cards.length - 1)];
      }
    }
    target?.querySelector("a").focus();
  }
}

class Column {
  limit = PAGE;
  #total = 0;
  #list = h("ul", { class: "cards" });
  #count = h("span", { class: "count number" });
  #more;

  constructor(status, board) {
    this.status = status;
    this.#more = h("button", { class: "small quiet", hidden: true, onclick: () => busy(this.#more, () => board.more(this)) }, t("more"));
    this.node = h(
      "section",
      { class: `column ${status}`, "data-status": status, "aria-labelledby": `column-${status}` },
      h("h2", { id: `column-${status}` }, h("span", { class: `badge ${status}` }, t(`status.${status}`)), this.#count),
      this.#list,
      this.#more,
    );
    this.node.addEventListener("dragover", (event) => {
      if (!this.node.classList.contains("inviting")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "move";
      this.node.classList.add("over");
    });
    this.node.addEventListener("dragleave", (event) => {
      if (!this.node.contains(event.relatedTarget)) this.node.classList.remove("over");
    });
    this.node.addEventListener("drop", (event) => {
      event.preventDefault();
      const id = Number(event.dataTransfer.getData("text/plain"));
      board.dragging(null);
      board.move(id, status);
    });
  }

  get cards() {
    return this.#list.children;
  }

  /** May what is dragged be dropped here? */
  invite(may) {
    this.node.classList.toggle("inviting", Boolean(may));
    this.node.classList.remove("over");
  }

  /** What changed last is on top. */
  place(node, time) {
    node.dataset.time = time;
    const below = [...this.cards].find((each) => each.dataset.time < time);
    this.#list.insertBefore(node, below ?? null);
  }

  count(total, relative = false) {
    this.#total = relative ? this.#total + total : total;
    put(this.#count, number(this.#total));
    this.#more.hidden = this.#total <= this.limit;
  }
}

function card(order, board) {
  const [following] = next(order.status);
  const title = t("board.order", { id: number(order.id) });
  const advance = following &&
    h("button", { class: "small quiet advance", onclick: () => board.move(order.id, following),
      "aria-label": t("advance.of", { id: order.id, status: t(`status.${following}`) }), title: t(`advance.${following}`) },
      t(`advance.${following}`), icon("arrow"));
  const movable = next(order.status).length > 0;
  const node = h(
    "li",
    { class: "order", "data-order": order.id, draggable: movable ? "true" : null },
    h("div", { class: "split" },
      h("a", { href: `#/orders/${order.id}`, "aria-describedby": "board-help", draggable: "false" }, title),
      h("time", { class: "muted", datetime: order.created_at, title: moment(order.created_at) }, brief(order.created_at))),
    h("p", { class: "grow" }, order.customer_name),
    h("p", { class: "price number" }, money(order.total_amount)),
    h("div", { class: "split" }, h("span", { class: "muted" }, t(`source.${order.source}`)), advance),
  );
  node.addEventListener("dragstart", (event) => {
    event.dataTransfer.setData("text/plain", String(order.id));
    event.dataTransfer.effectAllowed = "move";
    node.classList.add("dragged");
    board.dragging(order.id);
  });
  node.addEventListener("dragend", () => {
    node.classList.remove("dragged");
    board.dragging(null);
  });
  node.addEventListener("dblclick", () => go(`/orders/${order.id}`));
  return node;
}

function tell(error) {
  if (error.name === "AbortError") return;
  if (!(error instanceof ApiError)) throw error;
  announce(error.text, "bad");
}
