#!/bin/sh
# HAProxy with Lua; user and paths as an operator of containers knows them. Configuration is the operator's to mount.
set -eu
apt-get install --yes --no-install-recommends haproxy
# Afterwards: to Debian who has the number of upstream's image is no user of the system.
groupmod --gid 99 haproxy
usermod --uid 99 --gid haproxy haproxy

rm -rf /etc/haproxy /var/lib/haproxy /etc/init.d/haproxy /etc/logrotate.d/haproxy /etc/rsyslog.d
install -d -o haproxy -g haproxy /var/lib/haproxy
install -d /usr/local/etc/haproxy
ln -s /usr/local/etc/haproxy /etc/haproxy
