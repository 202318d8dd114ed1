#!/bin/bash
#SBATCH --job-name=tfhand --nodes=4 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=16
#SBATCH --time=12:00:00 --signal=TERM@60 --requeue --open-mode=append
# One task a machine. A run that was stopped or lost a machine queues itself again and goes on from
# its last checkpoint. Call `sbatch configs/cluster/slurm.sh` in the checkout.

trap : TERM
port=$((20000 + SLURM_JOB_ID % 10000))
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)
export CLUSTER="{\"worker\": [$hosts]}"
srun --kill-on-bad-exit=1 bash -c '
  export TF_CONFIG="{\"cluster\": $CLUSTER, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec python -m tfhand.train --flagfile=configs/selfsup.flags --data_dir=/shared/records \
      --workdir=/shared/runs/selfsup --distribution=multi_worker'
status=$?
# 75: stopped, or another machine was lost; 143: stopped while Python started.
if [ "$status" -eq 75 ] || [ "$status" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$status"
