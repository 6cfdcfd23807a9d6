#!/bin/sh
# qwen2.5-14b at fp8, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1,0 VLLM_PP_LAYER_PARTITION=38,10 vllm serve qwen2.5-14b --pipeline-parallel-size 2 --tensor-parallel-size 1 --max-model-len 4096 --gpu-memory-utilization 0.92 --max-num-seqs 256 --max-num-batched-tokens 2048 --kv-cache-dtype auto --quantization fp8 "$@"
