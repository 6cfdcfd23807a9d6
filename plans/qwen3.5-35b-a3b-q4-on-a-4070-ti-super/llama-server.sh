#!/bin/sh
# qwen3.5-35b-a3b at q4_k_m, placed by shardplan.
set -eu
llama-server -m qwen3.5-35b-a3b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0 -ngl 42 -ts 42 -ncmoe 14 -c 65536 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
