# debs.sh, read by the scripts that fetch: Debian's packages into the folder that we are in, from apt. Needs no root where apt has its package
# lists; as root it fetches the lists first if they are missing. Set log (a file) before.
debs_fail() {
	tail -n 5 "$log" >&2 2>/dev/null || true
	echo "guest: $1; the whole log is in $log" >&2
	exit 1
}
debs_update() {
	if [ "$(id -u)" != 0 ]; then
		debs_fail "apt's package lists are missing or old and only root may fetch them; run as root: apt-get update"
	fi
	apt-get update -qq >>"$log" 2>&1 </dev/null || debs_fail "apt-get update failed"
}
debs_download() { # as root apt would like to change user, which a folder below $HOME forbids
	(cd deb && apt-get download -o APT::Sandbox::User=root "$@") >>"$log" 2>&1 </dev/null
}
# debs_unpack FOLDER PACKAGE...: what they hold, below ./FOLDER
debs_unpack() {
	debs_into=$1
	shift
	mkdir -p deb
	debs_download "$@" || { debs_update && rm -f deb/*.deb && debs_download "$@"; } || debs_fail "cannot download $*"
	for deb in deb/*.deb; do
		dpkg -x "$deb" "$debs_into" || debs_fail "cannot unpack $deb"
	done
	rm -rf deb
}
