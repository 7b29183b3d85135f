#!/bin/sh
# fetch_qemu.sh CACHE: the QEMU of this Debian release's backports into CACHE/root, once, beside the installed one. For moves between two versions, and for
# measuring against QEMU's own migration where the installed one loses writes (tests/lib/qemu.py: newer_qemu). Exit 1 with a sentence where it is not to be had.
set -eu
mkdir -p "$1"
cache=$(cd "$1" && pwd)
if [ -e "$cache/complete" ]; then
	exit 0
fi
log=$cache/fetch.log
: >"$log"
fail() {
	tail -n 5 "$log" >&2 || true
	echo "newer QEMU: $1; the whole log is in $log" >&2
	exit 1
}
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$codename" ] || fail "this system names no Debian release"
# where the installed system gets its own release from
uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 2>>"$log" | sed -n "s/ $codename\$//p" | sort -u | head -n 1)
[ -n "$uri" ] || fail "apt has no package list of $codename; run as root: apt-get update"
rm -rf "$cache/root" "$cache/lists" "$cache/deb"
mkdir -p "$cache/lists/partial" "$cache/deb"
echo "deb $uri $codename-backports main" >"$cache/sources.list"
with="-o Dir::Etc::sourcelist=$cache/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$cache/lists -o APT::Sandbox::User=root
	-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache="
apt-get $with update -qq >>"$log" 2>&1 </dev/null || fail "the package list of $codename-backports cannot be had"
(cd "$cache/deb" && apt-get $with download qemu-system-x86 qemu-system-common qemu-system-data) >>"$log" 2>&1 </dev/null || fail "cannot download it"
for deb in "$cache"/deb/*.deb; do
	dpkg -x "$deb" "$cache/root" || fail "cannot unpack $deb"
done
rm -rf "$cache/deb" "$cache/lists"
"$cache/root/usr/bin/qemu-system-x86_64" -L "$cache/root/usr/share/qemu" --version >>"$log" 2>&1 || fail "it does not run here"
date >"$cache/complete"
