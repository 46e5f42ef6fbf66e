#!/bin/sh
# Install virnucpro from SOURCE into a new environment TARGET, every package by a hash that is in a lock.
# Usage: install.sh SOURCE TARGET [gpu]. For CPython 3.11 on Linux x86_64: without CUDA, or with gpu from PyPI with CUDA.
# TORCH_INDEX may name a mirror of PyTorch's builds for CPUs.
set -eu
source=$1 target=$2 variant=${3:-cpu}

# pip ENVIRONMENT COMMAND ...
pip() {
    environment=$1
    shift
    "$environment/bin/python" -m pip --no-cache-dir --disable-pip-version-check --quiet "$@"
}

case $variant in
    cpu) lock=requirements.lock index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu} ;;
    gpu) lock=integrations/container/gpu.lock index= ;;
    *) echo "unknown variant $variant: leave it out for CPUs, or gpu" >&2 && exit 2 ;;
esac
python3 -m venv "$target"
pip "$target" install --no-deps --require-hashes -r "$source/$lock" ${index:+--extra-index-url "$index"}

wheels=$(mktemp -d)
python3 -m venv "$wheels/build"
pip "$wheels/build" install --no-deps --require-hashes -r "$source/integrations/container/build.lock"
pip "$wheels/build" wheel --no-deps --no-build-isolation -w "$wheels" "$source"
pip "$target" install --no-deps --no-index "$wheels"/virnucpro-*.whl
rm -rf "$wheels"

"$target/bin/virnucpro" --version
