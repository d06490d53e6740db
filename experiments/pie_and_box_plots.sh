#!/usr/bin/env bash
# Fractions of the four categories, as a ring, and for correctly and incorrectly classified images:
# img/pie-imagenet-MODEL.png, img/correct-vs-incorrect.png (and .csv), and the ring of the toy
# network, img/pie-classif-oscil.png.
#
# Also set: OSCILLATION_MODEL (default oscillations, the network that comes with Aliascope;
# oscillations:RUN is a training of yours), ACCOUNTING (exact or published).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

ACCOUNTING=${ACCOUNTING:-exact}
OSCILLATION_MODEL=${OSCILLATION_MODEL:-oscillations}
evaluate clean ${MAX_SAMPLES:+--max-samples "$MAX_SAMPLES"}
aliascope plot pie "$runs/clean" --accounting "$ACCOUNTING" --output "$images/pie-imagenet-$name.png"
aliascope plot boxes "$runs/clean" --accounting "$ACCOUNTING" \
  --output "$images/correct-vs-incorrect.png"

oscillations="$here/runs/${OSCILLATION_MODEL//[:\/]/-}${MAX_SAMPLES:+-$MAX_SAMPLES}"
aliascope evaluate --model "$OSCILLATION_MODEL" --data oscillations --device "$DEVICE" \
  --batch-size 100 ${MAX_SAMPLES:+--max-samples "$MAX_SAMPLES"} --output "$oscillations" \
  $published --resume
aliascope plot pie "$oscillations" --accounting "$ACCOUNTING" \
  --output "$images/pie-classif-oscil.png"
