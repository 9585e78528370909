#!/bin/bash
# Train a SuperTransformer (or a SubTransformer) on several machines of a SLURM cluster, across time limits and
# pre-emptions: training saves its state when it is told to stop, and the next run of the same command continues it.
#
#   sbatch scripts/slurm_train.sh configs/wmt14_ende/train_super.yaml training.accumulate=4 [section.key=value ...]
#   HAT_COMMAND=train_sub sbatch scripts/slurm_train.sh configs/wmt14_ende/train_sub.yaml training.accumulate=4
#
# Change the #SBATCH lines to what your cluster has; those of the command line go before these (sbatch --nodes 2 ...).
# training.accumulate times the number of GPUs is the batch of an update, 128 for WMT: here 4 times 32.

#SBATCH --job-name=hat
#SBATCH --nodes=4                    # machines
#SBATCH --ntasks-per-node=1          # one torchrun on each; it starts one process per GPU
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue                    # a pre-empted job goes back into the queue by itself
#SBATCH --signal=B:USR1@300          # five minutes before the time limit, this script is told
#SBATCH --open-mode=append           # a continued job goes on in the same log
#SBATCH --output=runs/slurm-%j.log   # make the folder runs/ before the first sbatch

set -uo pipefail

if [ $# -lt 1 ]; then
    echo "slurm_train.sh: give the settings: sbatch scripts/slurm_train.sh CONFIG.yaml [section.key=value ...]" >&2
    exit 2
fi
command=${HAT_COMMAND:-train_super}

# Where the virtual environment is not active already, activate it here:
# source .venv/bin/activate

# All torchruns meet at the first machine of the job, at a port that differs from job to job.
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}

stop_requested=0
training=
stop_training() {
    stop_requested=1
    # srun hands the signal to every torchrun, and they to their processes, which save their state and end.
    [ -n "$training" ] && kill -TERM "$training" 2>/dev/null
}
trap stop_training USR1 TERM

# In the background: bash runs a trap only between commands, and during `wait`.
srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-id "$SLURM_JOB_ID" \
    --rdzv-backend c10d \
    --rdzv-endpoint "$head_node:$port" \
    -m "hat.cli.$command" "$@" &
training=$!
[ "$stop_requested" = 1 ] && stop_training # the signal came before there was a training

wait "$training"
while kill -0 "$training" 2>/dev/null; do # a wait ends with every signal, the training does not
    wait "$training"
done
wait "$training" # once more, for its own exit status
status=$?

if [ "$status" != 0 ] && [ "$stop_requested" = 1 ]; then
    echo "slurm_train.sh: stopped with its state saved; back into the queue to continue." >&2
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
# An error of the settings or of the program would only come again: no new attempt.
exit "$status"
