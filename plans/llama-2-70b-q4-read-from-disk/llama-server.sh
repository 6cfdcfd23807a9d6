#!/bin/sh
# llama-2-70b at q4_k_m, placed by shardplan.
set -eu
llama-server -m llama-2-70b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0 -ngl 46 -ts 46 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 -lm mmap --no-repack "$@"
