#!/bin/bash
# Starts RabbitMQ as its own user; the first start makes the user and virtual host that RABBITMQ_DEFAULT_* name.
set -euo pipefail

main() {
    if [[ ${1:-} == rabbitmq* ]]; then
        if [[ $(id -u) == 0 ]]; then
            chown -R rabbitmq:rabbitmq /var/lib/rabbitmq
            exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups "$0" "$@"
        fi
        if [[ $1 == rabbitmq-server ]]; then
            from_file RABBITMQ_DEFAULT_USER
            from_file RABBITMQ_DEFAULT_PASS
            from_file RABBITMQ_DEFAULT_VHOST
            from_file RABBITMQ_ERLANG_COOKIE
            keep_to_loopback
            write_cookie
            umask 0027
        fi
    fi
    exec "$@"
}

# from_file NAME: set $NAME to the content of the file that $NAME_FILE names, if it names one.
from_file() {
    local file="${1}_FILE"
    [[ -n ${!file:-} ]] || return 0
    [[ -z ${!1:-} ]] || fail "both $1 and $file are set: keep one"
    [[ -r ${!file} ]] || fail "$file names ${!file}, which uid $(id -u) cannot read"
    export "$1=$(< "${!file}")"
    unset "$file"
}

# A node of the name rabbit@localhost has no peers: nobody else may reach what would make one.
keep_to_loopback() {
    [[ $RABBITMQ_NODENAME == *@localhost ]] || return 0
    export ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="${RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:-} -kernel inet_dist_use_interface {127,0,0,1}"
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS
}

# Without one given, Erlang makes a random cookie in $HOME at the first start.
write_cookie() {
    [[ -n ${RABBITMQ_ERLANG_COOKIE:-} ]] || return 0
    (umask 0077 && printf '%s' "$RABBITMQ_ERLANG_COOKIE" > "$HOME/.erlang.cookie")
    unset RABBITMQ_ERLANG_COOKIE
}

fail() {
    printf 'rabbitmq: %s\n' "$*" >&2
    exit 1
}

main "$@"
