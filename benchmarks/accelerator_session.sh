#!/usr/bin/env bash
# The queue on a lent machine that has PyTorch and JAX but neither Keras nor a network.
#
#   accelerator_session.sh first    with .whl (keras, namex, optree) and half of the images
#   accelerator_session.sh train    with the other half, and states of before in .queue
#
# Each call has 64 MiB to carry, and the images are 83 MB: they come in two halves, each in
# .cifar. `first` keeps its half. `train` writes the teachers' answers and at the same time
# takes some epochs of the training PROBE on noise under three settings of XLA; the queue
# then runs under the fastest. SECONDS_LEFT bounds what `train` may take, BESIDE how many
# processes train at once, ONLY names trainings, STACK is the largest stack.
set -eu
ready=/tmp/queue
mkdir -p "$ready/cifar" "$ready/states"
cp .cifar/* "$ready/cifar/"
[ -d .queue ] && cp -n .queue/* "$ready/states/"
[ -d /tmp/site ] || python3 -m pip install -q --no-index --no-deps --no-compile \
    --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
[ "$1" = first ] && exit

export PYTHONPATH=/tmp/site KERAS_BACKEND=jax PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR="$ready/compiled"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

# The steps of small networks are hundreds of short kernels: in one CUDA graph they do not
# wait for each other's launch. Convolutions are not part of XLA's graphs by default.
plain=""
graphs=FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONVOLUTION,CONDITIONAL,DYNAMIC_SLICE_FUSION
graphs="--xla_gpu_enable_command_buffer=$graphs"
loops="$graphs,WHILE"

# Kernels of several processes run at the same time under MPS alone.
control=$(command -v nvidia-cuda-mps-control || ls /usr/local/nvidia/bin/nvidia-cuda-mps-control 2>/dev/null || true)
if [ -n "$control" ]; then
    export CUDA_MPS_PIPE_DIRECTORY=/tmp/mps CUDA_MPS_LOG_DIRECTORY=/tmp/mps_log
    mkdir -p /tmp/mps /tmp/mps_log
    [ -e /tmp/mps/control ] || "$control" -d || true
    if ! XLA_PYTHON_CLIENT_PREALLOCATE=false timeout 60 \
        python3 -c "import jax; print(jax.numpy.ones(3).sum(), jax.devices())"; then
        echo quit | "$control" || true
        unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
        echo "no MPS"
    fi
else
    echo "no MPS here"
fi

work() {
    python3 benchmarks/accelerator_queue.py work --stack "${STACK:-3}" \
        ${ONLY:+--only $ONLY} "$@"
}

# Times PROBE under each setting; writes the name of the fastest.
probe() {
    for setting in plain graphs loops; do
        XLA_FLAGS="${!setting}" ONLY="$PROBE" work --folder "$ready/$setting" \
            --noise 50000 --epochs 4 --beside 1 --seconds 110 >/dev/null &
    done
    wait
    tail -n 1 "$ready"/*/*.log || true
    for setting in plain graphs loops; do
        tail -n 1 "$ready/$setting/"*.log | awk -v s=$setting '$2 == 4 {print $NF, s}'
    done | sort -n | awk 'NR == 1 {print $2}' >"$ready/fastest"
}

trained="--folder $ready/states --data $ready/cifar"
XLA_FLAGS="" work $trained --tables --beside 1 --seconds 150 >/dev/null &
fastest=plain
if [ -n "${PROBE:-}" ]; then
    probe
    fastest=$(cat "$ready/fastest")
fi
wait
fastest=${fastest:-plain}
echo "XLA: $fastest, ${SECONDS} s"
XLA_FLAGS="${!fastest}" work $trained --whole --output "$OUT" --beside "${BESIDE:-4}" \
    --seconds $((${SECONDS_LEFT:-560} - SECONDS))
