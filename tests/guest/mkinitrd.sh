#!/bin/sh
# mkinitrd.sh CACHE BALGUEST OUT: the guest's initrd: our program as /init, busybox, and the modules that it loads, stripped (their
# signatures and debug data would only cost boot time), each after those it depends on. Not compressed: that is the fastest to boot.
set -eu
cache=$1 balguest=$2 out=$3
# Loaded at boot, in this order. Then those that tests load when they need them (sh insmod /lib/modules/NAME.ko): swap on zram.
load="virtio_pci virtio_console virtio_balloon virtio_mem evdev button virtio_blk virtio_net"
carry="zsmalloc zram lzo_rle"
root=$out.d
rm -rf "$root"
mkdir -p "$root/bin" "$root/etc" "$root/lib/modules"
cp "$balguest" "$root/init"
strip "$root/init"
cp "$cache/bin/busybox" "$root/bin/busybox"
for applet in sh insmod rmmod cat echo dd ls mount umount mkswap swapon swapoff ip ifconfig ping top free sleep dmesg hexdump grep head; do
	ln -s busybox "$root/bin/$applet"
done

find "$cache/modules" -name '*.ko*' >"$out.list"
place() { # NAME: put the module and what it depends on into the initrd; - and _ are the same in names
	[ ! -e "$root/lib/modules/$1.ko" ] || return 0
	file=$(grep -E "/$(echo "$1" | sed 's/[-_]/[-_]/g')\.ko(\.(xz|zst|gz))?$" "$out.list" | head -n 1)
	if [ -z "$file" ]; then
		grep -qE "/$(echo "$1" | sed 's/[-_]/[-_]/g')\.ko$" "$cache"/modules/*/modules.builtin && return 0 # part of the kernel
		echo "guest: the kernel has no module $1" >&2
		exit 1
	fi
	case $file in
	*.xz) xz -dc "$file" ;;
	*.zst) zstd -dcq "$file" ;;
	*.gz) gzip -dc "$file" ;;
	*) cat "$file" ;;
	esac >"$out.$1.ko"
	for need in $(objcopy -O binary -j .modinfo "$out.$1.ko" /dev/stdout | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' '); do
		place "$need" "$2"
	done
	strip --strip-debug -R .BTF -o "$root/lib/modules/$1.ko" "$out.$1.ko"
	rm -f "$out.$1.ko"
	[ "$2" = carry ] || echo "/lib/modules/$1.ko" >>"$root/etc/modules"
}
for m in $load; do
	(place "$m" load) || exit 1
done
for m in $carry; do
	(place "$m" carry) || exit 1
done
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >"$out.new"
rm -rf "$root" "$out.list"
mv "$out.new" "$out"
