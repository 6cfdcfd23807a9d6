#!/bin/sh
# qwen3-next-80b-a3b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m qwen3-next-80b-a3b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 49 -ts 34,15 -ncmoe 19 -c 8192 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
