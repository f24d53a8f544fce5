// The loss scale of training in half precision: put into the numbers of a step, and adapted after it. One thread each.
// What it computes is said in resnet-core, `op/loss_scale.rs`.
#include "types.cuh"

// Twin of `LossScaleState`.
struct LossScaleState {
    float scale, good_steps, skipped_steps, last_scale;
};

struct ScaleLossArgs {
    const LossScaleState* state;
    float* scalars; // StepScalars: [1] c₁, [2] c₂, [4] factor on the gradient of the loss, [6] undoes it, [7] number of the step
    float beta1, beta2;
};

// 1 − βᵗ by squaring, as the host has it, so that both get the same bits.
__device__ __forceinline__ float bias_correction(float beta, u64 t) {
    double power = 1.0, square = beta;
    for (; t > 0; t /= 2) {
        if (t % 2 == 1) power *= square;
        square *= square;
    }
    return float(1.0 - power);
}

KERNEL(scale_loss, ScaleLossArgs, 1) {
    // Steps that were left out moved no moment.
    const float taken = args.scalars[7] - args.state->skipped_steps;
    const u64 t = taken > 0.0f ? u64(taken) : 0;
    args.scalars[1] = bias_correction(args.beta1, t);
    args.scalars[2] = bias_correction(args.beta2, t);
    args.scalars[4] *= args.state->scale;
    args.scalars[6] /= args.state->scale;
}

struct AdaptLossScaleArgs {
    const float* norm;
    LossScaleState* state;
    float growth, backoff, interval;
    u32 unused;
};

KERNEL(adapt_loss_scale, AdaptLossScaleArgs, 1) {
    LossScaleState s = *args.state;
    s.last_scale = s.scale;
    if (!isfinite(*args.norm)) {
        s.scale *= args.backoff;
        s.good_steps = 0.0f;
        s.skipped_steps += 1.0f;
    } else {
        s.good_steps += 1.0f;
        if (s.good_steps >= args.interval) {
            s.good_steps = 0.0f;
            const float grown = s.scale * args.growth;
            if (isfinite(grown)) s.scale = grown;
        }
    }
    *args.state = s;
}
