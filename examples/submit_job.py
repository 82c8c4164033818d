"""Send a run to a Ray cluster, follow it, stop it, continue it.

    python examples/submit_job.py OUT METHOD PRESET [--flags]
    python examples/submit_job.py /shared/runs/scans dp_feta cpu-mnist --data.path /shared/scans.parquet

The cluster is that of RAY_API_SERVER_ADDRESS, such as http://head:8265, as for `ray job`; where it asks for a token,
see docs/cluster.md. OUT is a folder that every node reaches, or a URI (s3://bucket/run): what a job leaves elsewhere
is gone with it. Ctrl-C stops the job; the same command continues the run where it stopped, and spends nothing twice.
Start it in the folder of this repository, which travels along; where raysyn is installed on the nodes, take
`working_dir` out.
"""

import shlex
import sys
import time

from ray.job_submission import JobStatus, JobSubmissionClient

RUNTIME = {"working_dir": ".", "excludes": ["runs/", "*.parquet", "*.npz"]}


def follow(client: JobSubmissionClient, job: str) -> JobStatus:
    """Print the job's output as it comes, until it ends."""
    shown = 0
    while True:
        status, text = client.get_job_status(job), client.get_job_logs(job)
        print(text[shown:], end="", flush=True)
        shown = len(text)
        if status.is_terminal():
            return status
        time.sleep(1)


def main(out: str, *command: str) -> int:
    """Exit status: 0 where the run ended with its report."""
    client = JobSubmissionClient()
    words = ["python", "-m", "raysyn", *command, "--on.address", "auto", "--out", out]
    job = client.submit_job(entrypoint=shlex.join(words), runtime_env=RUNTIME)
    print(f"{job}: {shlex.join(words)}", flush=True)
    try:
        return int(follow(client, job) != JobStatus.SUCCEEDED)
    except KeyboardInterrupt:
        client.stop_job(job)
        print(f"{follow(client, job).value}; the same command continues this run", flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
