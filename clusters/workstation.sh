#!/usr/bin/env bash
# One laptop or workstation, for several jobs in a row. (A single run needs no cluster: `python jobs/...` starts its own.)
#
#   clusters/workstation.sh                                          # until Ctrl-C
#   RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
#       python jobs/dp_feta.py quick --on.address auto --out "$PWD/runs/quick"
#
# Costs: electricity; memory for Ray's object store, 30 % of what is free.
# Change first: CPUS, if other work shall go on beside it; SCRATCH, if /tmp is small: sensitive images are spilled there.
set -euo pipefail

PORT=${PORT:-6379} DASHBOARD_PORT=${DASHBOARD_PORT:-8265} SCRATCH=${SCRATCH:-/tmp/raysyn-$UID}
# Ray opens its own folders to everybody: they lie in one that is ours alone.
mkdir -p "$SCRATCH/spill" && chmod 700 "$SCRATCH"
# Whoever has no token is sent away, also on this machine; `ray get-auth-token` shows it.
export RAY_AUTH_MODE=token
(umask 077 && ray get-auth-token --generate > /dev/null)
# Ray itself lets others read it.
[ ! -e ~/.ray/auth_token ] || chmod 600 ~/.ray/auth_token
# For this machine alone, dashboard, Ray Client and all: Ray's own switch for that, whatever its name says.
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
exec ray start --head --block --disable-usage-stats ${CPUS:+--num-cpus="$CPUS"} \
    --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" \
    --ray-client-server-port="${CLIENT_PORT:-10001}" --dashboard-agent-listen-port="${AGENT_PORT:-52365}" \
    --temp-dir="$SCRATCH/ray" --object-spilling-directory="$SCRATCH/spill"
