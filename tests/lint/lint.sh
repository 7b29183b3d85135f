#!/bin/sh
# make lint: the layers, clang-format's opinion, clang-tidy, and the slips that reviews keep finding.
# Installs clang-format and clang-tidy where root can; says what is missing where not.
set -eu
bad=0
sh tests/lint/layers.sh || bad=1
need=""
for t in clang-format clang-tidy; do command -v $t >/dev/null || need="$need $t"; done
if [ -n "$need" ]; then
	[ "$(id -u)" = 0 ] || { echo "lint: missing$need; run as root: apt-get install$need" >&2; exit 1; }
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $need >/dev/null
fi
sources=$(git ls-files '*.c' '*.h')
clang-format --dry-run --Werror $sources || bad=1
rooms=$(git ls-files 'domain/*.c' 'conf/*.c' 'resize/*.c' 'migrate/*.c' 'policyd/*.c')
flags="-std=gnu11 -D_GNU_SOURCE -I. $(pkg-config --cflags libconfig libevent openssl liblz4 jansson sqlite3 libxxhash)"
# One file a process: in a process with several the analyzer carries what it learnt of one file into the next.
tidy='case $0 in domain/err.c) first= ;; *) first="-include tests/lint/analyzer.h" ;; esac; clang-tidy --quiet "$0" -- $first '"$flags"
printf '%s\n' $rooms | xargs -P "$(nproc)" -n 1 sh -c "$tidy" 2>/dev/null || bad=1
if grep -nE '[[:space:]]+$' $sources /dev/null; then echo "lint: trailing white space"; bad=1; fi
[ "$bad" = 0 ] && echo "lint: ok" || exit 1
