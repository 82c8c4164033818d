#!/usr/bin/env bash
# One machine with several GPUs, with or without the right to more machines.
#
#   SCRATCH=/local/nvme/ray clusters/gpu-node.sh                     # until Ctrl-C
#   RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
#       python jobs/dp_feta.py paper-mnist-eps10 --on.address auto --out /data/runs/mnist
#   From elsewhere: ssh -N -L 8265:127.0.0.1:8265 THIS_MACHINE, and the same command.
#
# Costs: GPU hours. A DP-SGD training takes one worker per GPU; fan-outs share a GPU with --on.gpus-per-unit 0.25.
# Change first: SCRATCH, a fast local disk that nobody else reads: the object store spills sensitive images there.
set -euo pipefail

PORT=${PORT:-6379} DASHBOARD_PORT=${DASHBOARD_PORT:-8265} SCRATCH=${SCRATCH:?name a fast local disk}
# Ray opens its own folders to everybody: they lie in one that is ours alone.
mkdir -p "$SCRATCH/spill" && chmod 700 "$SCRATCH"
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate > /dev/null)
# Ray itself lets others read it.
[ ! -e ~/.ray/auth_token ] || chmod 600 ~/.ray/auth_token
# For this machine alone, dashboard, Ray Client and all: Ray's own switch for that, whatever its name says.
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
exec ray start --head --block --disable-usage-stats ${GPUS:+--num-gpus="$GPUS"} \
    --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" \
    --ray-client-server-port="${CLIENT_PORT:-10001}" \
    --temp-dir="$SCRATCH/ray" --object-spilling-directory="$SCRATCH/spill"
