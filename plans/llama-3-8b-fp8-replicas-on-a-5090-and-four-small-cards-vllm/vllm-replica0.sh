#!/bin/sh
# llama-3-8b at fp8, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3 vllm serve llama-3-8b --pipeline-parallel-size 1 --tensor-parallel-size 4 --max-model-len 4096 --gpu-memory-utilization 0.92 --max-num-seqs 256 --max-num-batched-tokens 2048 --kv-cache-dtype auto --quantization fp8 --port 8000 "$@"
