#!/bin/sh
# llama-2-70b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-2-70b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 72 -ts 25,47 -ncffn 12 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
