#!/bin/bash
# Runs what is in /docker-entrypoint.d before nginx: *.sh in a process of its own, *.envsh in this one.
set -euo pipefail

if [[ ${1:-} == nginx* ]]; then
    for file in /docker-entrypoint.d/*; do
        case $file in
            *.envsh)
                # shellcheck disable=SC1090 # the operator's own file
                . "$file"
                ;;
            *.sh) "$file" ;;
        esac
    done
fi
exec "$@"
