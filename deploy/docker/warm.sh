#!/bin/sh
# warm.sh: run small recipes from end to end, so that each service compiles the kernels that its jobs need, for the types
# that its jobs have; keep numba's files in /opt/kernels.
set -eu
export TESSERA_CHILD_NICE=0 HOME=/tmp/warm TESSERA_CACHE_DIR=/tmp/warm PATH=/opt/tessera/bin:$PATH
mkdir -p /tmp/warm /opt/kernels
for recipe in street_meal; do
    python -m tessera.cli.main run "$recipe" --out "/tmp/run/$recipe" \
        --set dataset.parameters.train=3 --set dataset.parameters.val=1 --set dataset.parameters.test=1 \
        --set budget.rounds=2 --set training.epochs=1 ||
        { tail -n 40 "/tmp/run/$recipe/stack/logs/"*.log >&2; exit 1; }
done
cp -R /tmp/warm/numba/. /opt/kernels/
find /opt/kernels -name '*.nbi' | grep -q . || { echo "warm.sh: no kernel was compiled" >&2; exit 1; }
rm -rf /tmp/warm /tmp/run
