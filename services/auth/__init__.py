"""Accounts, roles, sessions and tokens."""
