#!/bin/sh
# nginx with its stream module; user, paths and logs as an operator of containers knows them.
set -eu
groupadd --gid 101 nginx
useradd --uid 101 --gid nginx --home-dir /var/cache/nginx --shell /usr/sbin/nologin nginx
apt-get install --yes --no-install-recommends nginx libnginx-mod-stream
dpkg --purge --force-depends iproute2 libbpf1 libelf1t64 libtirpc3t64 libtirpc-common libxtables12 libmnl0 libcap2-bin

rm -rf /etc/nginx/sites-available /etc/nginx/sites-enabled /etc/nginx/snippets /var/www /var/lib/nginx
# Debian's nginx writes below /var/lib/nginx; /var/cache/nginx is where people mount a tmpfs.
# A tmpfs takes the mode of the folder it is mounted on.
install -d -o nginx -g nginx -m 1777 /var/cache/nginx
chmod 1777 /run
ln -s /var/cache/nginx /var/lib/nginx
install -d /etc/nginx/conf.d /docker-entrypoint.d
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
