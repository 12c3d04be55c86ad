"""Migrations of notifications_log."""
