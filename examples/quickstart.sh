#!/usr/bin/env bash
# Install the package, draw a dataset of birds, train on it, and generate and measure images: about ten minutes after installation on two CPU cores.
#   bash examples/quickstart.sh            writes to .venv/ and quickstart/ of this checkout only
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
  printf '\n$ %s\n' "$*"
  "$@"
}

[ -x .venv/bin/python ] || run "${PYTHON:-python3}" -m venv .venv
run .venv/bin/python -m pip install --quiet --disable-pip-version-check .
export PATH="$PWD/.venv/bin:$PATH"
export STACKGAN_HOME="${STACKGAN_HOME:-$PWD/quickstart}"

started=$SECONDS
run stackgan doctor
run stackgan prepare demo --image-size 152
run stackgan train --preset quick-encoder
run stackgan encode-text
run stackgan train --preset quick-stage1
run stackgan train --preset quick-stage2
run stackgan sample "a red bird with black wings" "a yellow bird with blue wings and a short orange beak" \
  "this small bird is white and has green wings" --count 6 --stage both --output "$STACKGAN_HOME/pictures"
run stackgan train --preset quick-v2
run stackgan sample "a red bird with black wings" --count 6 --output "$STACKGAN_HOME/v2-pictures"
run stackgan train --preset quick-classifier
run stackgan evaluate quick-stage2-demo --metric fid,is,precision-recall --count 400
run stackgan interpolate "a red bird" "a blue bird" --run quick-stage2-demo
run stackgan tsne --run quick-stage2-demo --count 200
run stackgan neighbours --run quick-stage2-demo
run stackgan report quick-stage2-demo
printf '\nDone %d seconds after installation. Look at %s and %s\n' "$((SECONDS - started))" "$STACKGAN_HOME/pictures" \
  "$STACKGAN_HOME/runs/quick-stage2-demo/report.html"
