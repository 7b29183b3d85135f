#!/bin/sh
# mkextra.sh INITRD OUT NAME=FILE...: INITRD and behind it an archive with each FILE under NAME, with the shared libraries that programs among them
# need, and links for the busybox applets that the example guests use beside the test guest's own.
set -eu
initrd=$1 out=$2
shift 2
root=$out.d
rm -rf "$root"
mkdir -p "$root/bin"
for applet in httpd killall pidof mkdir chmod arping; do
	ln -s busybox "$root/bin/$applet"
done
for pair; do
	name=${pair%%=*} file=${pair#*=}
	mkdir -p "$root/$(dirname "$name")"
	cp "$file" "$root/$name"
	[ -x "$file" ] || continue
	ldd "$file" 2>/dev/null | sed -n 's,^[^/]*\(/[^ ]*\).*,\1,p' | while read -r lib; do
		mkdir -p "$root/$(dirname "$lib")"
		cp -L "$lib" "$root/$lib"
	done
done
{
	cat "$initrd"
	(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet)
} >"$out.new"
rm -rf "$root"
mv "$out.new" "$out"
