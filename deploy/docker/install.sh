#!/bin/sh
# install.sh LOCK [torch]: put what LOCK pins, by hash, into /opt/tessera, without what no process of ours loads; with
# torch, torch too. What was not there before lies in /opt/added afterwards: the layer that this lock adds to an image.
#
# torch's CPU and CUDA builds share a version and differ in their hashes, so no lock holds it.
set -eu
pip() { /opt/build/bin/pip --python /opt/tessera/bin/python "$@"; }
list() { (cd /opt/tessera && find . \( -type f -o -type l \) | sort); }

if [ -d /opt/added ]; then list >/tmp/before; else : >/tmp/before; fi
pip install --quiet --no-compile --require-hashes -r "$1"
if [ "${2:-}" = torch ]; then
    from="--no-index"
    if [ -n "$TORCH_INDEX" ]; then from="--index-url $TORCH_INDEX"; fi
    # The lock holds what the CPU build needs; a CUDA build brings its own libraries.
    if [ "$ACCELERATOR" = cpu ]; then from="$from --no-deps"; fi
    # shellcheck disable=SC2086  # several words on purpose
    pip install --quiet --no-compile --find-links /wheels $from "$TORCH"
fi
prune.sh /opt/tessera
list >/tmp/after
# A file that is gone would still lie in the layers below: the two locks differ in a version.
gone=$(comm -23 /tmp/before /tmp/after | head -n 3)
[ -z "$gone" ] || { echo "install.sh: $1 replaces what another lock installed: $gone; run make lock" >&2; exit 1; }
rm -rf /opt/added && mkdir /opt/added
comm -13 /tmp/before /tmp/after | tar -C /opt/tessera -c --no-recursion -T - | tar -C /opt/added -x
