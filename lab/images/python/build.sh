#!/bin/sh
# Python as in upstream's slim image: interpreter and pip, no compiler.
set -eu
apt-get install --yes --no-install-recommends python3 python3-pip python-is-python3
# Byte code is found stale by the times of sources, which an archive rounds: tied to nothing, it stays good.
python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.13
