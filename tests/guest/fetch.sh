#!/bin/sh
# fetch.sh CACHE: Debian's cloud kernel and busybox-static into CACHE (vmlinuz, modules, bin/busybox), once. The log of apt stays in
# CACHE/fetch.log.
set -eu
cache=$1
meta=linux-image-cloud-amd64
if [ -e "$cache/complete" ]; then
	exit 0
fi
. "$(dirname "$0")/debs.sh"
echo "  FETCH Debian's cloud kernel and busybox"
rm -rf "$cache"
mkdir -p "$cache"
cd "$cache"
log=$cache/fetch.log
kernel() { # the package that the meta package stands for
	apt-cache depends "$meta" 2>>"$log" | sed -n 's/^ *Depends: *\(linux-image-[0-9].*-cloud-amd64\).*/\1/p' | head -n 1
}
: >"$log"
[ "$(dpkg --print-architecture)" = amd64 ] || debs_fail "the test guest is made of amd64 packages; this machine is $(dpkg --print-architecture)"
[ -n "$(kernel)" ] || debs_update
[ -n "$(kernel)" ] || debs_fail "apt knows no $meta"
debs_unpack x "$(kernel)" busybox-static
mkdir bin
cp x/bin/busybox bin/busybox 2>/dev/null || cp x/usr/bin/busybox bin/busybox
cp x/boot/vmlinuz-* vmlinuz
if [ -d x/usr/lib/modules ]; then mv x/usr/lib/modules modules; else mv x/lib/modules modules; fi
rm -rf x
date >complete
