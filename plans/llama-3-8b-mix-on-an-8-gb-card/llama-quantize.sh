#!/bin/sh
# llama-3-8b at 18 blocks q6_k, 14 blocks q8_0, the rest q8_0, mixed by shardplan.
set -eu
llama-quantize --tensor-type-file tensor-types.txt llama-3-8b-F16.gguf llama-3-8b-MIX.gguf q8_0 "$@"
