"""Orders: placed, confirmed, shipped, delivered or cancelled, and everybody concerned told of it."""
