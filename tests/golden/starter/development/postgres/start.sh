#!/bin/bash
# Starts PostgreSQL and, each time it is up, makes the declared databases, roles and passwords true.
# A database added later or a password changed needs no more than a start.
set -euo pipefail

main() {
    settle &
    exec docker-entrypoint.sh "$@"
}

# Over TCP only the real server answers, not the one that runs while the cluster is made.
settle() {
    until pg_isready --quiet --host 127.0.0.1; do sleep 0.2; done
    until passwords_and_databases; do sleep 2; done
    touch /tmp/settled # what the health check waits for
}

passwords_and_databases() {
    local pair
    run <<'SQL' || return
\set password `cat /run/secrets/password`
ALTER ROLE postgres PASSWORD :'password';
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
SQL
    # Who watches reads what the server counts, and no table.
    if [[ -e /run/secrets/monitor_password ]]; then
        run <<'SQL' || return
\set password `cat /run/secrets/monitor_password`
SELECT 'CREATE ROLE monitor' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor') \gexec
ALTER ROLE monitor WITH LOGIN CONNECTION LIMIT 5 PASSWORD :'password';
GRANT pg_monitor TO monitor;
GRANT CONNECT ON DATABASE postgres TO monitor;
SQL
    else
        run <<'SQL' || return
SELECT 'ALTER ROLE monitor NOLOGIN' WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = 'monitor') \gexec
SQL
    fi
    for pair in $DATABASES; do
        run --set "database=${pair%=*}" --set "role=${pair#*=}" <<'SQL' || return
\set file /run/secrets/ :role _password
\set password `cat :'file'`
SELECT format('CREATE ROLE %I', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" WITH LOGIN PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
    done
}

# Over the socket, where the superuser needs no password: it may be the one that is changed.
run() {
    psql --quiet --no-psqlrc --output /dev/null --username postgres --dbname postgres --host /run/postgresql \
        --set ON_ERROR_STOP=1 "$@"
}

main "$@"
