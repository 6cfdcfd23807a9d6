#!/bin/sh
# deepseek-v3 at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m deepseek-v3-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 62 -ts 58,4 -ncmoe 57 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 -lm mmap --no-repack "$@"
