"""Notifications: what happens to orders, in words, kept and told to the desktops of the staff."""
