#!/usr/bin/env bash
# Everything that only a GPU can tell, in one command and 8 minutes, without network:
#
#   [OUT=out/gpu] benchmarks/gpu_check.sh [--built] [--benchmarks NAME ...]
#
# Builds the package for this GPU, runs the tests marked gpu, the CUDA kernels under compute-sanitizer and the
# benchmarks on CUDA, and writes gpu_check.json, gpu_check.log and junit.xml to $OUT. The stages are in gpu_check.py.
# Exit code: 0 all passed, 1 a stage failed, 2 this machine cannot run it.
set -u

cannot() {
  echo "gpu_check: $1" >&2
  exit 2
}

cd "$(dirname "${BASH_SOURCE[0]}")/.." || cannot "the checkout cannot be entered"
PYTHON=${PYTHON:-python3}

# The cheap questions first: a machine without a GPU has its answer at once, before PyTorch is loaded.
command -v nvidia-smi >/dev/null || cannot "no NVIDIA GPU here: nvidia-smi was not found"
timeout 20 nvidia-smi --query-gpu=name --format=csv,noheader >/dev/null 2>&1 ||
  cannot "no NVIDIA GPU here: nvidia-smi finds no device, or no driver answers"
export PATH="$PATH:/usr/local/cuda/bin"
for tool in "$PYTHON" cmake nvcc; do
  command -v "$tool" >/dev/null || cannot "$tool was not found"
done
timeout 60 "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
  cannot "$PYTHON has no PyTorch that can use this GPU"

# Safe path: the package that gets installed is tested, never the sources beside this folder, which have no kernels.
export PYTHONSAFEPATH=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" -m benchmarks.gpu_check --out "${OUT:-out/gpu}" "$@"
