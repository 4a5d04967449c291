#!/usr/bin/env bash
# The trainings of results/nano: train.sh DATA OUTPUT. Each takes about seven minutes of one CPU core once the first has
# filled the caches; run again, it goes on where it was stopped.
#
# alignment costs a twentieth of distillation per clip, so that not all can be equal: all variants share steps and
# batches but distill_only and together (both losses from the first step), which have as many FLOPs in their steps as
# base, and so fewer clips.
set -euo pipefail
data=$1 output=$2
export OMP_NUM_THREADS=1 # two trainings side by side are faster on two cores than one on both

train() { # NAME SEED [option ...]
    local name=$1 seed=$2
    shift 2
    diva-bench train --preset nano --data "$data" --output "$output/$name-s$seed" --name "diva-nano-${name//_/-}-s$seed" \
        --set "seed=$seed" --set evaluate_every=300 "$@"
}

for seed in 0 1 2; do
    train base $seed
    train align_only $seed --ablation align_only
    train distill_only $seed --ablation distill_only --set steps=575
    train scratch $seed --ablation scratch
    train kl $seed --ablation kl
done
for ablation in released mlp align_first align_pad; do
    train $ablation 0 --ablation $ablation
done
train together 0 --set align_steps=0 --set steps=575
