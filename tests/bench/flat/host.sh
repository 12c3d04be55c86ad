#!/usr/bin/env bash
# A host as one would make it by hand, of plain docker commands: a network, a volume, a node with systemd, the operator's key; then wait
# until it lets them in. It is what `make bench` compares the hosts of `up` with. All of it has the environment's mark, by which it is
# taken away.
#
#   host.sh NAME IMAGE NETWORK NETWORK6 ADDRESS ADDRESS6 KEY      (KEY.pub beside KEY)
set -euo pipefail
name=$1 image=$2 network=$3 network6=$4 address=$5 address6=$6 key=$7
mark=hostwright.environment=$name

docker network create --label "$mark" --ipv6 --subnet "$network" --subnet "$network6" "$name"
docker volume create --label "$mark" "$name-docker"
docker run --detach --label "$mark" --name "$name" --hostname "$name" \
    --network "$name" --ip "$address" --ip6 "$address6" \
    --memory 4096m --memory-swap 4096m --cpus 2 --restart unless-stopped --stop-signal SIGRTMIN+3 \
    --cap-add ALL --cap-drop SYS_RESOURCE --cgroupns host --volume /sys/fs/cgroup:/sys/fs/cgroup:rw \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
    --tmpfs /run:exec,mode=755 --tmpfs /tmp:exec,mode=1777 --volume "$name-docker:/var/lib/docker" "$image"
docker exec --interactive --user opensuse "$name" sh -c 'umask 077 && mkdir -p ~/.ssh && cat >~/.ssh/authorized_keys' <"$key.pub"

login=(ssh -i "$key" -o BatchMode=yes -o ConnectTimeout=2 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null)
until "${login[@]}" "opensuse@$address" true; do
    if ((SECONDS > 60)); then
        echo "$name does not let opensuse in at $address within 60 s" >&2
        exit 1
    fi
    sleep 0.2
done
