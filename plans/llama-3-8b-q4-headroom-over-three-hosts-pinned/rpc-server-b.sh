#!/bin/sh
# llama-3-8b at q4_k_m, its part on this host (1.14 GiB on b.cuda0) placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID ggml-rpc-server -H 0.0.0.0 -p 50052 -d CUDA0 "$@"
