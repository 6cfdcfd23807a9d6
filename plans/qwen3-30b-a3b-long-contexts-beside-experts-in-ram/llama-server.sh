#!/bin/sh
# qwen3-30b-a3b at q4_k_m, placed by shardplan.
set -eu
llama-server -m qwen3-30b-a3b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0 -ngl 27 -ts 27 -ncmoe 48 -c 131072 -np 4 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
