#!/usr/bin/env bash
# From nothing to a picture of the bird you describe, on the embedded data: about ten minutes on two cores after installation.
#   bash examples/quickstart.sh            everything goes to .venv/ and quickstart/ of this checkout
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
run stackgan sample --run quick-stage2-demo --file examples/captions.txt --count 4 --output "$STACKGAN_HOME/more-pictures"
printf '\n%d seconds after installation. Look at %s\n' "$((SECONDS - started))" "$STACKGAN_HOME/pictures"
