#!/bin/sh
# falcon-40b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m falcon-40b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 61 -ts 31,30 -c 2048 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
