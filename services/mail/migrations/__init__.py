"""Migrations of mail_db."""
