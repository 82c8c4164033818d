#!/usr/bin/env bash
# One machine with several GPUs, with or without the right to more machines.
#
#   SCRATCH=/local/nvme/ray clusters/gpu-node.sh                     # until Ctrl-C
#   RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:8265 --working-dir . \
#       --metadata-json '{"job_name": "dp_feta mnist"}' -- \
#       python jobs/dp_feta.py paper-mnist-eps10 --on.address auto --out /data/runs/mnist
#   From elsewhere: ssh -N -L 8265:127.0.0.1:8265 THIS_MACHINE, and the same command.
#
# Costs: GPU hours. A DP-SGD training takes one worker per GPU; fan-outs share a GPU with --on.gpus-per-unit 0.25.
# Change first: SCRATCH, a fast local disk that nobody else reads: the object store spills sensitive images there.
set -euo pipefail

PORT=${PORT:-6379} DASHBOARD_PORT=${DASHBOARD_PORT:-8265} CLIENT_PORT=${CLIENT_PORT:-10001} AGENT_PORT=${AGENT_PORT:-52365}
SCRATCH=${SCRATCH:?name a fast local disk}
# Ray keeps 10002 to 19999 for its workers, and says so in twenty lines.
for name in PORT DASHBOARD_PORT CLIENT_PORT AGENT_PORT; do
    port=${!name}
    if ! [[ $port =~ ^[1-9][0-9]{3,4}$ ]] || ((port < 1024 || port > 65535 || (port > 10001 && port < 20000))); then
        echo "error: $name is $port: give a port from 1024 to 10001 or from 20000 to 65535" >&2 && exit 2
    elif [[ " ${taken:-} " == *" $port "* ]] || (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
        echo "error: $name is $port, which is taken already: give another one, or end what listens there" >&2 && exit 2
    fi
    taken="${taken:-} $port"
done
# Ray opens its own folders to everybody: they lie in one that is ours alone.
mkdir -p "$SCRATCH/spill" && chmod 700 "$SCRATCH"
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate > /dev/null)
# Ray itself lets others read it.
[ ! -e ~/.ray/auth_token ] || chmod 600 ~/.ray/auth_token
# For this machine alone, dashboard, Ray Client and all: Ray's own switch for that, whatever its name says.
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
# In place of Ray's own advice, which does not know what runs here.
cat << EOF
Once Ray has started, in another terminal:
  RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:$DASHBOARD_PORT --working-dir . \\
      --metadata-json '{"job_name": "dp_feta mnist"}' -- \\
      python jobs/dp_feta.py paper-mnist-eps10 --on.address auto --out "/data/runs/mnist"
  or, to have it end with that terminal:
  python jobs/dp_feta.py paper-mnist-eps10 --on.address 127.0.0.1:$PORT --out "/data/runs/mnist"
Dashboard: http://127.0.0.1:$DASHBOARD_PORT, which asks for the token that \`ray get-auth-token\` prints.
EOF
exec ray start --head --block --disable-usage-stats ${GPUS:+--num-gpus="$GPUS"} \
    --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" \
    --ray-client-server-port="$CLIENT_PORT" --dashboard-agent-listen-port="$AGENT_PORT" \
    --temp-dir="$SCRATCH/ray" --object-spilling-directory="$SCRATCH/spill" \
    > >(sed -u "/Next steps/,/--block/d")
