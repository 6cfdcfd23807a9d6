#!/bin/sh
# deepseek-v3.1-terminus at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m deepseek-v3.1-terminus-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 62 -ts 55,7 -ncmoe 51 -c 131072 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
