#!/bin/sh
# What kube-router calls by name: the iptables that the node has too (nf_tables), and sets of addresses.
set -eu
apt-get install --yes --no-install-recommends ipset iptables
