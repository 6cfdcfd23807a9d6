#!/bin/sh
# llama-2-13b at q8_0, placed by shardplan.
set -eu
llama-server -m llama-2-13b-Q8_0.gguf --fit off --split-mode layer --device CUDA0 -ngl 30 -ts 30 -ncffn 13 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
