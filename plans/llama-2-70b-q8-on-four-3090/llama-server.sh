#!/bin/sh
# llama-2-70b at q8_0, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-2-70b-Q8_0.gguf --fit off --split-mode layer --device CUDA0,CUDA1,CUDA2,CUDA3 -ngl 81 -ts 21,23,23,14 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
