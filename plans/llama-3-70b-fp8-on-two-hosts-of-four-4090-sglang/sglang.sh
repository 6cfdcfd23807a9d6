#!/bin/sh
# llama-3-70b at fp8, its part on one placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3 SGLANG_PP_LAYER_PARTITION=40,40 python -m sglang.launch_server --model-path llama-3-70b --pp-size 2 --tp-size 4 --context-length 4096 --mem-fraction-static 0.787 --max-running-requests 256 --chunked-prefill-size 2048 --kv-cache-dtype auto --quantization fp8 --nnodes 2 --node-rank 0 --dist-init-addr one:20000 "$@"
