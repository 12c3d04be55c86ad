#!/bin/sh
# RabbitMQ with the Erlang it needs; its own programs on PATH, not Debian's wrappers that insist on su.
set -eu
groupadd --gid 999 rabbitmq
useradd --uid 999 --gid rabbitmq --home-dir /var/lib/rabbitmq --shell /bin/bash rabbitmq
apt-get install --yes --no-install-recommends rabbitmq-server
# Only rabbitmqadmin, a client of the management plugin, wants Python.
for each in python3 python3-minimal libpython3-stdlib python3.13 python3.13-minimal libpython3.13-stdlib \
  libpython3.13-minimal socat libwrap0 libreadline8t64 readline-common libncursesw6 libexpat1 \
  libffi8 media-types; do
  dpkg --purge --force-depends "$each"
done

# The package makes a cookie, which would be the same secret in every container.
rm -rf /var/lib/rabbitmq /var/log/rabbitmq /etc/rabbitmq /usr/bin/rabbitmqadmin /usr/lib/python3*
install -d -o rabbitmq -g rabbitmq -m 0750 /var/lib/rabbitmq /var/log/rabbitmq
install -d /etc/rabbitmq /etc/rabbitmq/conf.d
echo "[]." > /etc/rabbitmq/enabled_plugins
