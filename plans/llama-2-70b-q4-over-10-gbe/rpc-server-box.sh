#!/bin/sh
# llama-2-70b at q4_k_m, its part on this host (18.06 GiB on box.cuda0) placed by shardplan.
set -eu
CUDA_DEVICE_ORDER=PCI_BUS_ID ggml-rpc-server -H 0.0.0.0 -p 50052 -d CUDA0 "$@"
