#!/bin/sh
# llama-3-70b at fp8, placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3,4,5 SGLANG_PP_LAYER_PARTITION=26,27,27 python -m sglang.launch_server --model-path llama-3-70b --pp-size 3 --tp-size 2 --context-length 4096 --mem-fraction-static 0.798 --max-running-requests 256 --chunked-prefill-size 2048 --kv-cache-dtype fp8_e4m3 --quantization fp8 "$@"
