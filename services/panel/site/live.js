// What every view of orders listens to.
import { Feed } from "./shared/live.js";

export const feed = new Feed(() => "/ws");
