#!/bin/bash
# A batch job that saves before its time is up and goes back into the queue, until the run is done:
#   sbatch deploy/slurm.sh fashion-mnist --epochs 90 --out runs/first
# What follows the script's name goes to `onehour train`. On a cluster without GPUs take out the
# line that asks for them and name the workers: --workers-per-node 2.
#SBATCH --job-name=onehour
#SBATCH --nodes=2
# One task a node: it starts one worker a GPU, and all cores of the task are theirs.
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
# Slurm puts the job back when a node fails, and lets --requeue below do it.
#SBATCH --requeue
# SIGUSR1 goes to the steps five minutes before the end: time to finish a step and save.
#SBATCH --signal=USR1@300
# One log for all starts of the job.
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
set -eu

# For a package that is installed here; an absolute path serves as well.
export PATH="$PWD/node_modules/.bin:$PATH"

# srun does not take this over from sbatch since Slurm 22.05.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"

# A secret of this start: who does not know it cannot join. srun hands it to the tasks.
ONEHOUR_TOKEN="${ONEHOUR_TOKEN:-$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')}"
export ONEHOUR_TOKEN

# exec: a signal to the batch shell (--signal=B:…, scancel --batch) reaches srun, which passes it on.
exec srun onehour train "$@" --resume auto --requeue
