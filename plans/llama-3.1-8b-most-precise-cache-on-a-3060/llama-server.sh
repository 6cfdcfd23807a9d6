#!/bin/sh
# llama-3.1-8b at q6_k, placed by shardplan.
set -eu
llama-server -m llama-3.1-8b-Q6_K.gguf --fit off --split-mode layer --device CUDA0 -ngl 33 -ts 33 -c 65536 -np 1 -b 2048 -ub 512 -fa on -ctk q8_0 -ctv q8_0 "$@"
