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

PORT=${PORT:-6379} DASHBOARD_PORT=${DASHBOARD_PORT:-8265} SCRATCH=${SCRATCH:-/tmp/ray}
# Whoever has no token is sent away, also on this machine; `ray get-auth-token` shows it.
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null
# For this machine alone: everything listens on loopback. Ray Client (port 10001) is switched off, nothing here needs it.
exec ray start --head --block --disable-usage-stats ${CPUS:+--num-cpus="$CPUS"} \
    --node-ip-address=127.0.0.1 --port="$PORT" --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" \
    --ray-client-server-port=0 --dashboard-agent-listen-port="${AGENT_PORT:-52365}" --temp-dir="$SCRATCH"
