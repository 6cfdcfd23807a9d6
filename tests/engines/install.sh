#!/usr/bin/env bash
# Installs a real inference engine for the checks beside this file, once, outside the checkout:
#
#   $(tests/engines/install.sh llama.cpp)    tests/engines/llama_cpp.py
#   $(tests/engines/install.sh transformers) tests/engines/transformers_map.py CONFIG MAP
#   $(tests/engines/install.sh vllm)         tests/engines/vllm_stages.py CONFIG...
#   $(tests/engines/install.sh vllm)         tests/engines/vllm_serve.py
#   $(tests/engines/install.sh sglang)       tests/engines/sglang_stages.py CONFIG...
#
# Prints the Python to run the check with. llama.cpp is built from source, for CPU and RPC: three
# to five minutes on two cores. transformers brings PyTorch: about a minute and 1.6 GB of disk. vLLM is
# its build for CPUs: two to three minutes, a download of 1 GB and 2.7 GB of disk. SGLang stands on vLLM's
# packages, which have the transformers that it asks for: half a minute and 170 MB more.
set -euo pipefail

llama_cpp_python=0.3.36 # its source package carries llama.cpp 0c1e57098, the commit we account for
cmake=4.4.5
ninja=1.13.2
gguf=0.19.0
numpy=2.4.6
torch=2.15.0
transformers=5.24.0
accelerate=1.15.0
vllm=0.32.0 # and all else in vllm.txt
sglang=0.5.23
orjson=3.13.0

engines=${SHARDPLAN_ENGINES:-${XDG_CACHE_HOME:-$HOME/.cache}/shardplan/engines}

compiler() {
    command -v g++ >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends g++; }
}

# A folder that is a virtual environment, and whose `bin` also takes the engine's programs.
llama_cpp() {
    compiler
    local targets=(llama-completion llama-quantize ggml-rpc-server) build
    build=$(mktemp -d)
    trap "rm -rf '$build'" EXIT
    python3 -m venv "$1"
    "$1/bin/pip" install -q "cmake==$cmake" "ninja==$ninja" "gguf==$gguf" "numpy==$numpy"
    "$1/bin/pip" download -q --no-deps --no-binary llama-cpp-python -d "$build" "llama-cpp-python==$llama_cpp_python"
    tar -xzf "$build"/llama_cpp_python-*.tar.gz -C "$build" --strip-components=2 --wildcards '*/vendor/llama.cpp'
    # -O1: where layers go does not depend on how fast they run.
    PATH=$1/bin:$PATH cmake --log-level=WARNING -G Ninja -S "$build/llama.cpp" -B "$build/out" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_C_FLAGS_RELEASE='-O1 -DNDEBUG' -DCMAKE_CXX_FLAGS_RELEASE='-O1 -DNDEBUG' \
        -DBUILD_SHARED_LIBS=OFF -DGGML_RPC=ON -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF
    PATH=$1/bin:$PATH cmake --build "$build/out" --target "${targets[@]}" -- --quiet
    cp "${targets[@]/#/$build/out/bin/}" "$1/bin"
}

transformers() {
    compiler
    python3 -m venv "$1"
    "$1/bin/pip" install -q "transformers==$transformers" "numpy==$numpy" psutil sympy networkx jinja2
    "$1/bin/pip" install -q --no-deps "torch==$torch" "accelerate==$accelerate"
    without_cuda "$1"/lib/python3*/site-packages/torch/lib
}

vllm() {
    compiler
    python3 -m venv "$1"
    "$1/bin/pip" install -q --no-deps -r "$(dirname "$0")/vllm.txt"
    # Its program asks for the version of a package of the usual name, and knows by it that it is for CPUs.
    local packages
    packages=$(echo "$1"/lib/python3*/site-packages)
    mkdir "$packages/vllm-$vllm.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm" >"$packages/vllm-$vllm.dist-info/METADATA"
    without_cuda "$packages/torch/lib"
}

# Without its kernels for GPUs, which the check does without.
sglang() {
    install vllm "$engines/vllm-$vllm"
    python3 -m venv "$1"
    echo "$engines/vllm-$vllm"/lib/python3*/site-packages >"$(echo "$1"/lib/python3*/site-packages)/vllm.pth"
    "$1/bin/pip" install -q --no-deps "sglang==$sglang" "gguf==$gguf" "orjson==$orjson"
}

# Lets the CUDA build of torch import without its 2 GB of CUDA wheels: every CUDA function is there
# and answers "failed". CPU and meta tensors call none but the two that have an answer.
without_cuda() {
    local lib=$1
    {
        echo 'int cudaGetLastError(void) { return 0; }'
        echo 'int cudaStreamIsCapturing(void *stream, int *capturing) { return *capturing = 0; }'
        nm -D --undefined-only "$lib"/*.so | awk '{ sub(/@.*/, "", $2); print $2 }' | sort -u |
            grep -E '^(__cuda|cu|nccl|nv)' | grep -vxE 'cudaGetLastError|cudaStreamIsCapturing' |
            sed -E 's/.*(String|ErrorName)$/char *&(void) { return "no CUDA"; }/; t; s/.*/int &(void) { return 100; }/'
    } | gcc -w -shared -fPIC -fno-builtin -x c - -Wl,-soname,no-cuda.so -o "$lib/no-cuda.so"
    # The loader wants a library of each name; it must not hold the functions, which bear no versions.
    gcc -shared -x c /dev/null -x none -Wl,--no-as-needed,-rpath,'$ORIGIN' "$lib/no-cuda.so" -o "$lib/cuda-name.so"
    ldd "$lib"/*.so | awk '/not found/ { print $1 }' | sort -u | while read -r name; do
        ln -s cuda-name.so "$lib/$name"
    done
}

# Installs an engine into a folder, unless it is there.
install() {
    [ ! -e "$2/complete" ] || return 0
    rm -rf "$2"
    "$1" "$2" >&2 9>&-
    touch "$2/complete"
}

case ${1-} in
    llama.cpp) home=$engines/llama.cpp-$llama_cpp_python install=llama_cpp ;;
    transformers) home=$engines/transformers-$transformers install=transformers ;;
    vllm) home=$engines/vllm-$vllm install=vllm ;;
    sglang) home=$engines/sglang-$sglang install=sglang ;;
    *) echo "usage: $0 llama.cpp | transformers | vllm | sglang" >&2 && exit 2 ;;
esac
# One at a time: who comes second waits, and finds it complete.
mkdir -p "$engines"
exec 9>"$engines/lock"
flock 9
install "$install" "$home"
echo "$home/bin/python"
