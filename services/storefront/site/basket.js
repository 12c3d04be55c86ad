// What the customer means to buy, kept in the browser. Prices in grosze.

const KEY = "basket";
const MOST = 99;

let items = read();

/** Tells `changed`, of other tabs too. */
export const changes = new EventTarget();
addEventListener("storage", (event) => {
  if (event.key !== KEY) return;
  items = read();
  changes.dispatchEvent(new Event("changed"));
});

/** Product -> how many. */
export const contents = () => ({ ...items });

export const count = () => Object.values(items).reduce((sum, each) => sum + each, 0);

export function add(id) {
  set(id, (items[id] ?? 0) + 1);
}

export function set(id, quantity) {
  items = { ...items, [id]: Math.min(quantity, MOST) };
  if (!(quantity > 0)) delete items[id];
  save();
}

export function clear() {
  items = {};
  save();
}

function read() {
  try {
    const found = Object.entries(JSON.parse(localStorage.getItem(KEY)) ?? {});
    return Object.fromEntries(found.filter(([, each]) => Number.isInteger(each) && each > 0 && each <= MOST));
  } catch {
    return {}; // what somebody else wrote there
  }
}

function save() {
  localStorage.setItem(KEY, JSON.stringify(items));
  changes.dispatchEvent(new Event("changed"));
}
