#!/bin/sh
# llama-3-8b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-3-8b-Q4_K_M.gguf --fit off --rpc b:50052 --split-mode layer --device RPC0,CUDA6,CUDA7,CUDA3 -ngl 33 -ts 4,13,12,4 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
