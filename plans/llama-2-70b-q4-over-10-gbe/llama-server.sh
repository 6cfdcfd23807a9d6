#!/bin/sh
# llama-2-70b at q4_k_m, placed by shardplan.
set -eu
llama-server -m llama-2-70b-Q4_K_M.gguf --fit off --rpc box:50052 --split-mode layer --device RPC0,CUDA0 -ngl 81 -ts 35,46 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
