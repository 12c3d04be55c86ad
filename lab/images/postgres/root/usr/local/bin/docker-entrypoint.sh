#!/bin/bash
# Starts PostgreSQL; on an empty PGDATA first makes a cluster from POSTGRES_* and /docker-entrypoint-initdb.d.
set -Eeuo pipefail

main() {
    if [[ ${1:-} == -* ]]; then
        set -- postgres "$@"
    fi
    if [[ ${1:-} == postgres ]]; then
        if [[ $(id -u) == 0 ]]; then
            as_postgres "$@"
        fi
        prepare
    fi
    exec "$@"
}

# Continue as the server's own user: PostgreSQL refuses to run as root.
as_postgres() {
    mkdir -p "$PGDATA" /run/postgresql
    chmod 0700 "$PGDATA"
    find "$PGDATA" /run/postgresql \! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
}

prepare() {
    local user password database arguments marker="$PGDATA/.initialising"
    user=$(setting POSTGRES_USER postgres)
    password=$(setting POSTGRES_PASSWORD)
    database=$(setting POSTGRES_DB "$user")
    arguments=$(setting POSTGRES_INITDB_ARGS)
    unset POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE

    mkdir -p "$PGDATA" /run/postgresql
    chmod 0700 "$PGDATA" 2> /dev/null || true # a mount of another owner whose mode is already right
    if [[ -d $marker ]]; then
        say "the first start was interrupted: beginning again"
        find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name .initialising -exec rm -rf {} +
        rm -rf "$marker"
    fi
    if [[ -s $PGDATA/PG_VERSION ]]; then
        [[ $(< "$PGDATA/PG_VERSION") == 17 ]] ||
            fail "$PGDATA was made by PostgreSQL $(< "$PGDATA/PG_VERSION"), this is 17: dump it there, restore it here"
        return
    fi

    local host_method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [[ -z $password && $host_method != trust ]]; then
        fail "no superuser password: set POSTGRES_PASSWORD_FILE (or POSTGRES_PASSWORD)"
    fi

    # Made in a folder of its own whose presence says "unfinished" until the last step of the first start is done.
    local options=()
    eval "options=($arguments)" # words quoted as in a shell, as in the image this one stands for
    [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || options+=(--waldir "$POSTGRES_INITDB_WALDIR")
    mkdir -m 0700 "$marker"
    initdb --pgdata "$marker" --username "$user" --pwfile <(printf '%s\n' "$password") \
        --auth-local trust --auth-host scram-sha-256 "${options[@]}"
    printf 'host all all all %s\n' "$host_method" >> "$marker/pg_hba.conf"
    find "$marker" -mindepth 1 -maxdepth 1 -exec mv -t "$PGDATA" {} +

    # Only over the socket: nobody sees a server that is not ready yet.
    pg_ctl --wait -o "-c listen_addresses=" start
    export PGUSER=$user PGDATABASE=$database PGHOST=/run/postgresql
    # Init scripts may use them, as with the image this one stands for.
    export POSTGRES_USER=$user POSTGRES_DB=$database POSTGRES_PASSWORD=$password
    if [[ $database != postgres ]]; then
        psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --dbname postgres --set name="$database" \
            <<< 'CREATE DATABASE :"name";'
    fi
    run_init_files
    pg_ctl --wait --mode fast stop
    unset PGUSER PGDATABASE PGHOST POSTGRES_PASSWORD
    rmdir "$marker"
    say "ready for its first start"
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sh)
                say "running $file"
                if [[ -x $file ]]; then
                    "$file"
                else
                    # shellcheck disable=SC1090 # the operator's own file
                    . "$file"
                fi
                ;;
            *.sql) say "loading $file" && load < "$file" ;;
            *.sql.gz) say "loading $file" && gunzip --stdout "$file" | load ;;
            *.sql.xz) say "loading $file" && xz --decompress --stdout "$file" | load ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) say "not a .sh or .sql file, left alone: $file" ;;
        esac
    done
}

load() {
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1
}

# setting NAME [DEFAULT]: the value of $NAME, or the content of the file that $NAME_FILE names.
setting() {
    local file="${1}_FILE"
    if [[ -n ${!1:-} && -n ${!file:-} ]]; then
        fail "both $1 and $file are set: keep one"
    elif [[ -n ${!file:-} ]]; then
        [[ -r ${!file} ]] || fail "$file names ${!file}, which uid $(id -u) cannot read"
        printf '%s' "$(< "${!file}")"
    else
        printf '%s' "${!1:-${2:-}}"
    fi
}

say() {
    printf 'postgres: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

main "$@"
