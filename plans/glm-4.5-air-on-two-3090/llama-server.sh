#!/bin/sh
# glm-4.5-air at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m glm-4.5-air-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 48 -ts 31,17 -ncmoe 17 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
