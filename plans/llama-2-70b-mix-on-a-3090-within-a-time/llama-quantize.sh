#!/bin/sh
# llama-2-70b at 54 blocks q4_k_m, 26 blocks q3_k_m, the rest q5_k_m, mixed by shardplan.
set -eu
llama-quantize --tensor-type-file tensor-types.txt llama-2-70b-F16.gguf llama-2-70b-MIX.gguf q5_k_m "$@"
