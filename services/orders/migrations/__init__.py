"""Migrations of orders_db."""
