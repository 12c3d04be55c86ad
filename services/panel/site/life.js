// The life of an order: which status may follow which. The service has the last word; this only offers.
import { api } from "./shared/api.js";
import { t } from "./shared/i18n.js";
import { announce, ask } from "./shared/ui.js";

export const STATUSES = ["new", "confirmed", "shipped", "delivered", "cancelled"];
export const SOURCES = ["website", "manual", "zrodlo_jeden", "zrodlo_dwa"];

const NEXT = { new: ["confirmed", "cancelled"], confirmed: ["shipped", "cancelled"], shipped: ["delivered"], delivered: [], cancelled: [] };

export const next = (status) => NEXT[status];

/** Changes the status and says so; false where the person thought better of cancelling. Throws ApiError. */
export async function move(id, status) {
  if (status === "cancelled" && !(await ask(t("order.cancel.ask", { id }), t("yes.cancel"), t("no.keep")))) return false;
  await api("PATCH", `/api/orders/${id}/status`, { body: { status } });
  announce(t("moved", { id, status: t(`status.${status}`) }));
  return true;
}
