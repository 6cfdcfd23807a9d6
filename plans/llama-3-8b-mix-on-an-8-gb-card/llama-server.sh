#!/bin/sh
# llama-3-8b at 18 blocks q6_k, 14 blocks q8_0, the rest q8_0, placed by shardplan.
set -eu
llama-server -m llama-3-8b-MIX.gguf --fit off --split-mode layer --device CUDA0 -ngl 33 -ts 33 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
