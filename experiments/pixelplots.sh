#!/usr/bin/env bash
# The categories of DFT bins of intermediate signals, one pixel a bin, of one correctly classified
# image: img/aliasing_i.png, img/aliasing_ii.png, img/colorbar.png.
#
# Also set: SAMPLE (number of the image, default 0), SITE_I, CHANNEL_I, SITE_II, CHANNEL_II.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

SAMPLE=${SAMPLE:-0}
evaluate "pixels-$SAMPLE" --detail pixel --start "$SAMPLE" --max-samples 1

# By default an early and a later signal, and of each the channel whose categories are most mixed.
SITE_I=${SITE_I:-1}
SITE_II=${SITE_II:-3}
aliascope plot pixels "$runs/pixels-$SAMPLE" --site "$SITE_I" --sample "$SAMPLE" \
  ${CHANNEL_I:+--channel "$CHANNEL_I"} --no-colour-bar --output "$images/aliasing_i.png"
aliascope plot pixels "$runs/pixels-$SAMPLE" --site "$SITE_II" --sample "$SAMPLE" \
  ${CHANNEL_II:+--channel "$CHANNEL_II"} --no-colour-bar --output "$images/aliasing_ii.png"
aliascope plot colorbar --output "$images/colorbar.png"
