#!/usr/bin/env bash
# Oscillation networks trained with and without filters, and what each does: docs/oscillations.md.
#
# Environment: NETWORK (resnet-d-1), FILTERS ("none blur:3 ideal"), SEEDS ("0 1 2"), TRAIN (further
# options of `aliascope oscillations train`), IMAGES (1000). What is there is not done again; an
# interrupted training goes on.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The command of this checkout's environment where there is one (make demo makes it).
if [ -x "$here/../.venv/bin/aliascope" ]; then
  PATH="$here/../.venv/bin:$PATH"
fi

network=${NETWORK:-resnet-d-1}
images=${IMAGES:-1000}
runs="$here/runs/filters-$network"
mkdir -p "$runs"
cd "$runs"
for seed in ${SEEDS:-0 1 2}; do
  for filter in ${FILTERS:-none blur:3 ideal}; do
    run="${filter/:/}-$seed"
    chosen=""
    [ "$filter" = none ] || chosen="--filter $filter"
    resume=""
    [ -e "$run/training.json" ] && resume=--resume
    # shellcheck disable=SC2086
    aliascope oscillations train --network "$network" --seed "$seed" $chosen ${TRAIN:-} -o "$run" $resume
    one="--model oscillations:$run --data oscillations"
    # shellcheck disable=SC2086
    aliascope evaluate $one -b 100 --max-samples "$images" -o "$run-energy" --resume
    # shellcheck disable=SC2086
    aliascope ablate $one -b 100 --max-samples "$images" --sites stages -o "$run-ablation" --resume
    # shellcheck disable=SC2086
    aliascope shift $one -b 100 --max-samples 400 -o "$run-shift" --resume
  done
done
