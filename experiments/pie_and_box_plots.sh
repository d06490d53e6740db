#!/usr/bin/env bash
# Fractions of the four categories, as a ring, and for correctly and incorrectly classified images:
# img/pie-imagenet-MODEL.png, img/correct-vs-incorrect.png (and .csv), and the ring of the toy
# network, img/pie-classif-oscil.png, where its run is given.
#
# Also set: OSCILLATION_RUN (folder of an evaluated oscillation network), ACCOUNTING (exact or
# published).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

ACCOUNTING=${ACCOUNTING:-exact}
evaluate clean ${MAX_SAMPLES:+--max-samples "$MAX_SAMPLES"}
aliascope plot pie "$runs/clean" --accounting "$ACCOUNTING" --output "$images/pie-imagenet-$name.png"
aliascope plot boxes "$runs/clean" --accounting "$ACCOUNTING" \
  --output "$images/correct-vs-incorrect.png"
if [ -n "${OSCILLATION_RUN:-}" ]; then
  aliascope plot pie "$OSCILLATION_RUN" --accounting "$ACCOUNTING" \
    --output "$images/pie-classif-oscil.png"
else
  echo "img/pie-classif-oscil.png was not drawn: set OSCILLATION_RUN to the run of an oscillation network."
fi
