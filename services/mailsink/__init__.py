"""Where mail ends that must reach nobody: takes it over SMTP as a relay does, and shows it over HTTP.

For development, the lab and tests; a production environment names its own relay instead. Everything is in
memory: a restart forgets it.
"""
