#!/bin/sh
# mixtral-8x7b at q4_k_m, placed by shardplan.
set -eu
llama-server -m mixtral-8x7b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0 -ngl 29 -ts 29 -ncmoe 5 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
