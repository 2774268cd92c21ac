#!/usr/bin/env bash
# The queue on a lent machine that has PyTorch and JAX but neither Keras nor a network.
#
#   accelerator_session.sh first    with .whl (keras, namex, optree) and half of the images
#   accelerator_session.sh train    with .whl, the other half, and states of before
#
# Each call has 64 MiB to carry, and the images are 83 MB: they come in two halves, each in
# .cifar. The first call compiles every training of the queue on noise, into a cache that
# the second call finds. XLA times its kernels as it compiles: with many trainings beside
# each other it chose slow ones for some (ResNet-20 1.6 s an epoch beside five others, where
# the same network with a teacher took 0.7), so BESIDE is small there. SECONDS_LEFT bounds what a call may take, BESIDE how many
# trainings run at once.
set -eu
ready=/tmp/queue
mkdir -p "$ready/cifar" "$ready/states"
cp .cifar/* "$ready/cifar/"
[ -d .queue ] && cp -n .queue/* "$ready/states/"
python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target /tmp/site .whl/*.whl
export PYTHONPATH=/tmp/site KERAS_BACKEND=jax PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR="$ready/compiled"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=1

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

if [ "$1" = first ]; then
    python3 benchmarks/accelerator_queue.py work --folder "$ready/noise" --noise 50000 \
        --epochs 3 --beside "${BESIDE:-4}" --seconds "${SECONDS_LEFT:-120}"
    tail -n 1 "$ready"/noise/*.log
    ls "$ready/compiled" | wc -l
else
    python3 benchmarks/accelerator_queue.py work --folder "$ready/states" \
        --data "$ready/cifar" --output "$OUT" --beside "${BESIDE:-4}" \
        --seconds "${SECONDS_LEFT:-560}"
fi
