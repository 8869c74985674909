#!/bin/sh
# blank.sh LIBRARY USER [NAME]: put an empty library in the place of LIBRARY (called NAME, if given), with the names that
# the shared object USER takes from it, so that USER still loads. A process that calls one of them ends with SIGILL.
set -eu
library=$1 user=$2 name=${3:-$(basename "$1")}
[ "$(stat -c %s "$library")" -gt 65536 ] || exit 0
folder=$(mktemp -d)
nm -D --defined-only "$library" | awk '{print $3}' | sed 's/@@*/ /' | sort >"$folder/has"
nm -D --undefined-only "$user" | awk '{print $2}' | sed 's/@.*//' | sort -u >"$folder/wants"
join "$folder/wants" "$folder/has" | sort -u >"$folder/names"
awk '{printf ".globl %s\n.type %s,@function\n%s:\n", $1, $1, $1} END {print ".byte 0x0f,0x0b,0,0"}' "$folder/names" >"$folder/names.s"
as -o "$folder/names.o" "$folder/names.s"
awk 'NF > 1 {print $2}' "$folder/names" | sort -u | awk '{printf "%s { global: *; };\n", $1}' >"$folder/versions"
set -- -shared -soname "$name" -o "$folder/blank"
if [ -s "$folder/versions" ]; then set -- "$@" --version-script "$folder/versions"; fi
ld "$@" "$folder/names.o"
rm "$library"
cp "$folder/blank" "$(dirname "$library")/$name"
rm -r "$folder"
