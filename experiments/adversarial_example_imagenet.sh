#!/usr/bin/env bash
# Accuracy and aliasing of adversarial examples over the size of the disturbance (PGD, 100 steps of
# 2.5 eps / 100): img/adversarial_accuracy.png.
#
# Also set: EPS (comma-separated), STEPS, ACCOUNTING (exact or published).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

evaluate adversarial --attack pgd --eps "${EPS:-0,0.0001,0.0005,0.001,0.005,0.01,0.05}" \
  --attack-steps "${STEPS:-100}" ${MAX_SAMPLES:+--max-samples "$MAX_SAMPLES"}
aliascope plot adversarial "$runs/adversarial" --accounting "${ACCOUNTING:-exact}" \
  --output "$images/adversarial_accuracy.png"
