#!/usr/bin/env bash
# The queue on a lent machine that has PyTorch and JAX but neither Keras nor a network.
#
#   accelerator_session.sh first    with .whl (keras, namex, optree) and half of the images
#   accelerator_session.sh train    with the other half, and states of before in .queue
#
# Each call has 64 MiB to carry, and the images are 83 MB: they come in two halves, each in
# .cifar. The first call takes some epochs of every training in ONLY on noise, which fills a
# cache of compiled programs for the second call and shows what an epoch costs beside the
# others; the trainings in PROBE run with other settings of XLA too, in the folders "loops" and
# "plain". SECONDS_LEFT bounds what a call may take, BESIDE how many processes train at once,
# FLAGS are XLA's.
set -eu
ready=/tmp/queue
mkdir -p "$ready/cifar" "$ready/states"
cp .cifar/* "$ready/cifar/"
[ -d .queue ] && cp -n .queue/* "$ready/states/"
[ -d /tmp/site ] || python3 -m pip install -q --no-index --no-deps --no-compile \
    --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
export PYTHONPATH=/tmp/site KERAS_BACKEND=jax PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR="$ready/compiled"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

# The steps of small networks are hundreds of short kernels: as one CUDA graph they do not
# wait for each other's launch. Convolutions are not part of XLA's graphs by default.
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
    python3 benchmarks/accelerator_queue.py work --seconds "${SECONDS_LEFT:-560}" \
        --stack "${STACK:-3}" ${ONLY:+--only $ONLY} "$@"
}

if [ "$1" = first ]; then
    noise="--noise 50000 --epochs 4"
    if [ -n "${PROBE:-}" ]; then
        probe() { ONLY="$PROBE" work --folder "$ready/$1" $noise --beside 1 >/dev/null; }
        XLA_FLAGS="$loops" probe loops &
        XLA_FLAGS="" probe plain &
    fi
    XLA_FLAGS="${FLAGS-$graphs}" work --folder "$ready/noise" $noise --beside "${BESIDE:-4}"
    wait
    tail -n 1 "$ready"/*/*.log
    ls "$ready/compiled" | wc -l
else
    XLA_FLAGS="${FLAGS-$graphs}" work --folder "$ready/states" --data "$ready/cifar" \
        --output "$OUT" --beside "${BESIDE:-4}"
fi
