#!/bin/sh
# The weights that the package brings (uner3d/weights/base.safetensors), from nothing: scenes, training, score card.
#   SCENES: how many random scenes; MINUTES: of training; OUT: where all of it goes. Stopped, it goes on where it was.
set -eu
out=${OUT:-out/weights}
uner3d synth --many "${SCENES:-240}" --split train -o "$out/scenes/train"
uner3d synth --many 20 --split test -o "$out/scenes/test"
if [ -f "$out/run/state.safetensors" ]; then again=--resume; else again=; fi
uner3d train --scenes "$out/scenes/train" -o "$out/run" --minutes "${MINUTES:-180}" --seed "${SEED:-0}" $again
python -m benchmarks.bench_feed_forward "$out"/scenes/test/* --weights "$out/run/weights.safetensors" --out "$out/score"
