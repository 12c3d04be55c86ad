#!/bin/sh
# What Miniflux reads beside its own: whom to trust, and the times of the world.
set -eu
apt-get install --yes --no-install-recommends ca-certificates tzdata
