"""Analytics: what orders amount to, from their events; reports on demand and on a schedule."""
