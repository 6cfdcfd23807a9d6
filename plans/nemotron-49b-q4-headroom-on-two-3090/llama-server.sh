#!/bin/sh
# llama-3.3-nemotron-super-49b at q4_k_m, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-3.3-nemotron-super-49b-Q4_K_M.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 81 -ts 30,51 -c 32768 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
