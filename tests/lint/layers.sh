#!/bin/sh
# make layers: includes go one way, domain <- {conf, resize, migrate} <- policyd; and each foreign library stays in
# its place (docs/architecture.md). Prints each breach as file:line and fails if there is one.
set -eu
bad=0
breach() { # WHAT PATTERN FILES...
	what=$1 pattern=$2
	shift 2
	[ $# -gt 0 ] || return 0
	if grep -nE "$pattern" /dev/null "$@" >/tmp/layers.$$ 2>/dev/null; then
		sed "s|\$|    <- $what|" /tmp/layers.$$
		bad=1
	fi
	rm -f /tmp/layers.$$
}
files() { find "$@" -name '*.[ch]' 2>/dev/null | sort; }
inc='^[[:space:]]*#[[:space:]]*include[[:space:]]*'
breach "domain/ includes nothing of ours" "$inc\"(conf|resize|migrate|policyd|tests)/" $(files domain)
breach "conf/ includes domain/ only" "$inc\"(resize|migrate|policyd|tests)/" $(files conf)
breach "resize/ includes domain/ only" "$inc\"(conf|migrate|policyd|tests)/" $(files resize)
breach "migrate/ includes domain/ only" "$inc\"(conf|resize|policyd|tests)/" $(files migrate)
breach "policyd/ does not include tests/" "$inc\"tests/" $(files policyd)
breach "libconfig only in conf/" "$inc<libconfig" $(files domain resize migrate policyd)
breach "SQLite only in policyd/store.c" "$inc<sqlite3" $(files domain conf resize migrate policyd | grep -v '^policyd/store')
breach "OpenSSL only in migrate/tls.*" "$inc<openssl" $(files domain conf resize migrate policyd | grep -v '^migrate/tls')
breach "libevent in the loop, the QMP, guest agent and network files only" "$inc<event" $(files domain conf resize migrate | grep -vE '^(domain/qmp|domain/qga|domain/line|resize/|migrate/main|migrate/.*loop)')
[ "$bad" = 0 ] && echo "layers: ok" || exit 1
