#!/bin/sh
# llama-3-8b at 25 blocks q6_k, 7 blocks q8_0, the rest q8_0, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-3-8b-MIX.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 33 -ts 23,10 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
