"""The lab: a mirror of everything a host needs, built on the spot from package registries (checkout only)."""

from lab.mirror import Mirror, build, ensure_requirements, serve

__all__ = ["Mirror", "build", "ensure_requirements", "serve"]
