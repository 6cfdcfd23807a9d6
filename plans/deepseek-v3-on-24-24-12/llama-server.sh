#!/bin/sh
# deepseek-v3 at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m deepseek-v3-Q4_K_M.gguf --fit off --split-mode layer --device CUDA2,CUDA0,CUDA1 -ngl 62 -ts 1,57,4 -ncmoe 56 -c 8192 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
