#!/bin/sh
# install.sh LOCK [torch]: put what LOCK pins, by hash, into /opt/tessera; with torch, torch too. torch's CPU and CUDA
# builds share a version and differ in their hashes, so no lock holds it.
set -eu
pip() { /opt/build/bin/pip --python /opt/tessera/bin/python "$@"; }
pip install --quiet --no-compile --require-hashes -r "$1"
if [ "${2:-}" = torch ]; then
    from="--no-index"
    if [ -n "$TORCH_INDEX" ]; then from="--index-url $TORCH_INDEX"; fi
    # The lock holds what the CPU build needs; a CUDA build brings its own libraries.
    if [ "$ACCELERATOR" = cpu ]; then from="$from --no-deps"; fi
    # shellcheck disable=SC2086  # several words on purpose
    pip install --quiet --no-compile --find-links /wheels $from "$TORCH"
fi
