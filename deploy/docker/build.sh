#!/usr/bin/env bash
# build.sh [NAME=VALUE …]: build the image of every service, and of the client, as $PREFIX/<service>:$TAG, and print
# their sizes. NAME=VALUE are build arguments; without any, the public base images are used. Where the machine has
# images of deploy/docker/local-bases.sh: build.sh $(deploy/docker/local-bases.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."
engine=${ENGINE:-docker}
prefix=${PREFIX:-tessera}
tag=${TAG:-dev}
targets=${TARGETS:-coordinator oracle partitioner dashboard client selector scorer embedder trainer evaluator}
label=org.opencontainers.image
arguments=(--label "$label.revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)" --label "$label.version=$tag")
for argument in "$@"; do arguments+=(--build-arg "$argument"); done
# Docker 23 and later build with BuildKit by its plugin; the client of Docker 20.10 has it built in.
export DOCKER_BUILDKIT=1
if [ "$engine" = docker ] && ! docker buildx version >/dev/null 2>&1; then
    for each in $(type -ap docker); do
        case $("$each" --version) in *" 20."*) engine=$each ;; esac
    done
fi
for target in $targets; do
    "$engine" build --quiet -f deploy/docker/Dockerfile --target "$target" "${arguments[@]}" -t "$prefix/$target:$tag" . \
        >/dev/null || { echo "build.sh: $target was not built" >&2; exit 1; }
    "$engine" image inspect --format "$prefix/$target:$tag {{.Size}}" "$prefix/$target:$tag" |
        awk '{printf "%-32s %5.0f MB\n", $1, $2 / 1e6}'
done
