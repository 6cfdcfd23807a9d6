#!/bin/sh
# qwen2.5-32b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m qwen2.5-32b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA1,CUDA0 -ngl 65 -ts 8,57 -c 32768 -np 4 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
