#!/bin/sh
# agent.sh CACHE OUT: Debian's qemu-guest-agent as an initrd to append to the test guest's: /qga/qemu-ga, its libraries (this machine's, for QEMU
# here needs most of them too), and their loader. The package is fetched once, into CACHE/agent.
set -eu
cache=$1/agent out=$2
if [ ! -e "$cache/complete" ]; then
	echo "  FETCH Debian's qemu-guest-agent"
	rm -rf "$cache"
	mkdir -p "$cache"
	(cd "$cache" && apt-get download -o APT::Sandbox::User=root qemu-guest-agent >fetch.log 2>&1 </dev/null) || {
		tail -n 5 "$cache/fetch.log" >&2
		echo "guest: cannot download qemu-guest-agent; as root: apt-get update, then again" >&2
		exit 1
	}
	dpkg -x "$cache"/qemu-guest-agent_*.deb "$cache/x"
	date >"$cache/complete"
fi
root=$out.d
rm -rf "$root"
mkdir -p "$root/qga/lib" "$root/qga/state"
cp "$cache/x/usr/sbin/qemu-ga" "$root/qga/qemu-ga"
if ldd "$root/qga/qemu-ga" | grep 'not found' >&2; then
	echo "guest: this machine lacks those libraries of qemu-guest-agent; sh tests/lib/deps.sh installs them" >&2
	exit 1
fi
ldd "$root/qga/qemu-ga" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r lib; do
	cp -L "$lib" "$root/qga/lib/"
done
cp -L "$(ldd "$root/qga/qemu-ga" | sed -n 's/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\).*/\1/p')" "$root/qga/ld.so"
(cd "$root" && find . | cpio -o -H newc --quiet) >"$out.new"
rm -rf "$root"
mv "$out.new" "$out"
