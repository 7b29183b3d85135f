#!/bin/sh
# fetch_services.sh CACHE: the real programs of the worked examples (examples/haproxy, examples/etcd) as Debian packages them, unpacked into
# CACHE/root and installed nowhere, once: installing them would start them as services of this machine.
set -eu
cache=$1
if [ -e "$cache/complete" ]; then
	exit 0
fi
. "$(dirname "$0")/debs.sh"
echo "  FETCH Debian's HAProxy and etcd"
rm -rf "$cache"
mkdir -p "$cache"
cd "$cache"
log=$cache/fetch.log
: >"$log"
debs_unpack root haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 etcd-server etcd-client
date >complete
