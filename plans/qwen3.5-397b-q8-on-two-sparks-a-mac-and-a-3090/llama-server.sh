#!/bin/sh
# qwen3.5-397b-a17b at q8_0, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID llama-server -m qwen3.5-397b-a17b-Q8_0.gguf --fit off --split-mode layer --device MTL0,CUDA0,CUDA1,CUDA2 -ngl 62 -ts 29,12,16,5 -c 8192 -np 1 -b 2048 -ub 512 -fa on -ctk f16 -ctv f16 "$@"
