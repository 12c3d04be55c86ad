#!/bin/sh
# program.sh PACKAGE PROGRAM TARGET [DATA]: one program of a package, with what it reads, where the image that it
# stands for has it, and the folder of its data; for health checks the small wget of upstream's userland.
set -eu
package=$1 program=$2 target=$3 data=${4:-}
apt-get install --yes --no-install-recommends busybox
ln -s busybox /usr/bin/wget

# Not installed: what a package asks for is a system that starts it.
cd /tmp
apt-get download "$package"
dpkg-deb --extract "$package"_*.deb /tmp/found
mv "/tmp/found$program" "$target"
# Debian's Alertmanager reads a file that upstream's has inside.
if [ -d /tmp/found/usr/share/prometheus ]; then
    mv /tmp/found/usr/share/prometheus /usr/share/
fi
if [ -n "$data" ]; then
    install -d -o 65534 -g 65534 "$data"
fi
