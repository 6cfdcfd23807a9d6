#!/bin/sh
# llama-3-70b at bf16, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6,7 VLLM_PP_LAYER_PARTITION=9,9,9,11,11,11,11,9 vllm serve llama-3-70b --pipeline-parallel-size 8 --tensor-parallel-size 1 --max-model-len 4096 --gpu-memory-utilization 0.92 --max-num-seqs 256 --max-num-batched-tokens 2048 --kv-cache-dtype auto --dtype bfloat16 "$@"
