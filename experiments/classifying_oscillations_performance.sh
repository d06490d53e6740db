#!/usr/bin/env bash
# The toy experiment: 22 networks at four noise levels, trained from scratch, and their accuracies:
# runs/oscillations/results.csv, img/toy_example_acc.png, img/oscil_1.png to img/oscil_4.png.
#
# Further arguments go to `aliascope oscillations sweep`, as in --networks 'fc-*' --jobs 2. The whole
# grid takes about a week on two CPU cores; the same command goes on where it was interrupted.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The command of this checkout's environment where there is one (make demo makes it).
if [ -x "$here/../.venv/bin/aliascope" ]; then
  PATH="$here/../.venv/bin:$PATH"
fi

results="$here/runs/oscillations"
images="$here/img"
aliascope oscillations images --output "$images"
aliascope oscillations sweep --output "$results" "$@"
aliascope oscillations plot "$results" --output "$images/toy_example_acc.png"
aliascope oscillations table "$results"
