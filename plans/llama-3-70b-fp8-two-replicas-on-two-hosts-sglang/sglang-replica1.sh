#!/bin/sh
# llama-3-70b at fp8, its part on two placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=0,1,2,3 python -m sglang.launch_server --model-path llama-3-70b --pp-size 1 --tp-size 4 --context-length 4096 --mem-fraction-static 0.898 --max-running-requests 256 --chunked-prefill-size 2048 --kv-cache-dtype auto --quantization fp8 --port 30001 "$@"
