#!/bin/sh
# llama-3-70b at fp8, its part on one placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3 VLLM_PP_LAYER_PARTITION=41,39 vllm serve llama-3-70b --pipeline-parallel-size 2 --tensor-parallel-size 4 --max-model-len 4096 --gpu-memory-utilization 0.92 --max-num-seqs 256 --max-num-batched-tokens 2048 --kv-cache-dtype auto --quantization fp8 --nnodes 2 --node-rank 0 --master-addr one "$@"
