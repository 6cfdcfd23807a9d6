#!/bin/sh
# llama-2-13b at f16, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m llama-2-13b-F16.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 41 -ts 35,6 -c 4096 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
