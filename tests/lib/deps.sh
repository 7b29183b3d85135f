#!/bin/sh
# make deps: install the Debian packages that Ballast builds with, runs on and is tested with.
# Quiet and instant when nothing is missing. Without root it says which command to run.
set -eu
build="gcc make pkg-config libconfig-dev libevent-dev libssl-dev liblz4-dev libzstd-dev libjansson-dev libsqlite3-dev libxxhash-dev libcap-ng-dev libseccomp-dev"
# Faster AES-GCM where the CPU has the instructions for it; the package is there for this processor only.
[ "$(dpkg --print-architecture)" != amd64 ] || build="$build libipsec-mb-dev"
run="qemu-system-x86 iproute2 openssl"
tests="libcmocka-dev python3 busybox-static cpio xz-utils iputils-ping socat e2fsprogs"
missing=""
for p in $build $run $tests; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "deps: missing Debian packages; run as root: apt-get install$missing" >&2
	exit 1
fi
echo "deps: installing$missing"
log=$(mktemp)
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
	tail -n 20 "$log" >&2
	echo "deps: installing failed; the whole log is in $log" >&2
	exit 1
fi
rm -f "$log"
