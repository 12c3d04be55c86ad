"""Machines: how Pulumi is run for them, and what its drivers ask of Docker, libvirt and SSH."""
