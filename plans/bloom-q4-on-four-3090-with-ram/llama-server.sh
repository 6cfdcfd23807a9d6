#!/bin/sh
# bloom at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m bloom-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1,CUDA2,CUDA3 -ngl 63 -ts 21,15,15,12 -ncffn 19 -c 2048 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
