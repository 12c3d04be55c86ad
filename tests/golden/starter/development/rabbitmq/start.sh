#!/bin/bash
# Starts RabbitMQ with the application's user as a definition that is loaded at each start: a password changed
# in its file needs no more than a start.
set -euo pipefail

# bytes HEX: the bytes themselves
bytes() {
    # shellcheck disable=SC2001  # an expansion cannot put back what it found
    printf '%b' "$(sed 's/../\\x&/g' <<< "$1")"
}

# RabbitMQ's own form: base64(salt + SHA-256(salt + password)).
salt=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
digest=$({ bytes "$salt" && cat /run/secrets/password; } | sha256sum | cut -c 1-64)
hash=$(bytes "$salt$digest" | base64 -w 0)

umask 0077
cat > /tmp/definitions.json << JSON
{
  "vhosts": [{"name": "/"}],
  "users": [{"name": "$BROKER_USER", "password_hash": "$hash",
             "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}],
  "permissions": [{"user": "$BROKER_USER", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}]
}
JSON
exec docker-entrypoint.sh "$@"
