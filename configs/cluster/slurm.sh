#!/bin/bash
#SBATCH --job-name=tfhand --nodes=4 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=16
#SBATCH --time=12:00:00 --signal=TERM@60 --requeue --open-mode=append
# One task a machine. A run that was stopped or lost a machine queues itself again and goes on from
# its last checkpoint. Call `sbatch configs/cluster/slurm.sh` in the checkout.

trap : TERM
port=$((20000 + SLURM_JOB_ID % 10000))
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)
export CLUSTER="{\"worker\": [$hosts]}"
# Batches are over all devices, here 16.
srun --kill-on-bad-exit=1 bash -c '
  export TF_CONFIG="{\"cluster\": $CLUSTER, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec python -m tfhand.train --flagfile=configs/selfsup.flags --data_dir=/shared/records \
      --workdir=/shared/runs/selfsup --distribution=multi_worker \
      --tune_batch=16 --tune_synthetic_batch=48'
status=$?
# 1: bad input, which no restart mends. Anything else: stopped, or a machine was lost.
case $status in
    0 | 1) ;;
    *) [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ] && scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$status"
