# Read by the scripts beside it: where the images are, which model, and where things go.
#
# First argument: the ImageNet validation folder (class folders named by WordNet id), or `samples`.
# Environment: MODEL, WEIGHTS, DEVICE, MAX_SAMPLES, BATCH_SIZE.

if [ $# -lt 1 ]; then
  echo "usage: bash $0 IMAGENET_VALIDATION_FOLDER | samples   (MODEL, WEIGHTS, DEVICE, MAX_SAMPLES, BATCH_SIZE can be set)" >&2
  exit 2
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=$1
if [ "$data" != samples ]; then
  data=$(cd "$data" && pwd) || exit 2
fi

# The samples come with a network of their own, so that they need no download.
if [ "$data" = samples ]; then
  MODEL=${MODEL:-efficientnet_lite0}
  WEIGHTS=${WEIGHTS:-default}
else
  MODEL=${MODEL:-torchvision:resnet34}
  [ "$MODEL" = torchvision:resnet34 ] && WEIGHTS=${WEIGHTS:-IMAGENET1K_V1}
  WEIGHTS=${WEIGHTS:-default}
fi
DEVICE=${DEVICE:-auto}

# The command of this checkout's environment where there is one (make demo makes it).
if [ -x "$here/../.venv/bin/aliascope" ]; then
  PATH="$here/../.venv/bin:$PATH"
fi

name=${MODEL##*:}
images="$here/img"
runs="$here/runs/$name-$(basename "$data")${MAX_SAMPLES:+-$MAX_SAMPLES}"
mkdir -p "$images" "$runs"

# The spectrum's grid and the scale of folds that were published.
published="--grid seed --fold-scale unit"

# evaluate RUN OPTION...: measure, or go on where an earlier call was interrupted.
evaluate() {
  local run=$1
  shift
  aliascope evaluate --model "$MODEL" --weights "$WEIGHTS" --data "$data" --device "$DEVICE" \
    ${BATCH_SIZE:+--batch-size "$BATCH_SIZE"} --output "$runs/$run" \
    $published --resume "$@"
}
