#!/bin/sh
# llama-2-70b at 54 blocks q4_k_m, 26 blocks q3_k_m, the rest q5_k_m, placed by shardplan.
set -eu
llama-server -m llama-2-70b-MIX.gguf --fit off --split-mode layer --device CUDA0 -ngl 53 -ts 53 -ncffn 29 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
