#!/usr/bin/env bash
# What a GPU has to show, in one run of less than eight minutes (a large one: 8B in bfloat16 and room for batches).
#
#     benchmarks/gpu.sh [DATA] [OUT]
#
# DATA: hh-rlhf's harmless-base test, or requests that `benchmarks.scoring` saved (.npz). OUT gets one file for each step;
# a step that fails or takes too long is left behind, and the others run. Copy what is of use into benchmarks/RESULTS.md.
set -u
cd "$(dirname "$0")/.."
data=${1:-../shared/data/hh-rlhf/harmless-base-test.jsonl.gz}
out=${2:-gpu-results}
mkdir -p "$out"
begin=$SECONDS

step() { # NAME SECONDS COMMAND…
  local name=$1 limit=$2
  shift 2
  local left=$((470 - SECONDS + begin))
  ((left > 15)) || { echo "$name: no time left"; return; }
  ((limit < left)) || limit=$left
  local at=$SECONDS
  timeout "$limit" "$@" >"$out/$name.txt" 2>&1
  echo "$name: exit code $?, $((SECONDS - at)) s"
}

step machine 20 nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
# Token trees against single sequences.
step tests 60 python -m pytest -q -x tests/scoring/test_tree_attention.py tests/scoring/test_engine.py \
  tests/scoring/test_spread.py
# Attention over whole paths, batches of 16,384 positions; five rounds each.
step scoring-8b 120 python -m benchmarks.scoring "$data" --shape 8b --rows 64 --device cuda
step scoring-0.5b 60 python -m benchmarks.scoring "$data" --shape 0.5b --rows 200 --device cuda
# A training step with and without shared prefixes.
step training 180 python -m benchmarks.training "$data" --pairs 8 --steps 1 --device cuda --dtype bfloat16
# Straight to the device: host memory must stay far below the weights.
step large-model 60 python -m benchmarks.large_model "$out/large" --shape 0.5b --kinds prm logprobs --device cuda
# Where it is installed: vLLM on a model of the same shape and lengths.
if python -c 'import vllm' 2>/dev/null; then
  step vllm 80 vllm bench throughput --model "$out/large/lm" --input-len 370 --output-len 1 --num-prompts 500
else
  echo "vllm: not installed"
fi
echo "$((SECONDS - begin)) s"
