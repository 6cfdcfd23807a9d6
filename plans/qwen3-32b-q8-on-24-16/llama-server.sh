#!/bin/sh
# qwen3-32b at q8_0, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m qwen3-32b-Q8_0.gguf --fit off --split-mode layer --device CUDA0,CUDA1 -ngl 65 -ts 45,20 -c 8192 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
