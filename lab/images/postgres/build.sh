#!/bin/sh
# PostgreSQL 17 without what its Debian packages need for managing several clusters, and without the JIT compiler.
set -eu
groupadd --gid 999 postgres
useradd --uid 999 --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres

apt-get install --yes --no-install-recommends postgresql-common
echo "create_main_cluster = false" >> /etc/postgresql-common/createcluster.conf
apt-get install --yes --no-install-recommends postgresql-17

# PostgreSQL looks whether the JIT provider is there and does without: 150 MB less to pull.
rm -rf /usr/lib/postgresql/17/lib/bitcode /usr/lib/postgresql/17/lib/llvmjit*
dpkg --purge --force-depends \
  libllvm19 libz3-4 postgresql-common postgresql-client-common postgresql-common-dev ssl-cert \
  perl libperl5.40 perl-modules-5.40 libjson-perl libio-pty-perl libipc-run-perl libgdbm6t64 libgdbm-compat4t64 \
  locales libc-l10n ucf sensible-utils libtext-charwidth-perl libtext-wrapi18n-perl
rm -rf /etc/ssl/private/* /etc/postgresql /var/lib/postgresql

sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" /usr/share/postgresql/17/postgresql.conf.sample
grep -q "^listen_addresses = '\*'" /usr/share/postgresql/17/postgresql.conf.sample
install -d -o postgres -g postgres -m 1777 /var/lib/postgresql /var/lib/postgresql/data
# A tmpfs mounted there takes its mode, and the server's own user makes its folder in it.
chmod 1777 /run
install -d /docker-entrypoint-initdb.d
