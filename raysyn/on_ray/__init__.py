"""The only room that imports Ray. Here: what must be in the environment before Ray is first imported."""

import os

_SETTINGS = {
    # Train looks at its workers every 2 s by default, which costs every stage about 15 s.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A busy machine needs longer than the default minute to start processes that import torch.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    # Tune would turn Ctrl-C into a search that ends early and looks finished.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A worker that was promised no GPU must not see one.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Nothing about runs on sensitive data is sent anywhere.
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
