// Softmax cross-entropy over classes: loss, hit and gradient of each picture, then the metrics of all.
//
// One block per picture; its threads share the classes. A second kernel adds the pictures in a fixed order, in f64.
// Numerics: f32, shifted by the largest logit.
#include "types.cuh"

#define LOSS_THREADS 128

struct LossArgs {
    const void* logits;
    const u32* a;
    const u32* b; // null: no second label
    const float* scalars; // StepScalars: [3] λ, [4] factor on the gradient
    void* dlogits; // null: not wanted
    float2* pictures; // loss and hit of each
    u32 n_valid, classes;
    float smoothing;
    u32 unused;
};

// The largest value and where it is first. A NaN is larger than nothing.
struct Largest {
    float value;
    u32 at;
};

__device__ __forceinline__ Largest larger(const Largest& a, const Largest& b) {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
}

template <class Value, class Join> __device__ __forceinline__ Value over_block(Value* all, Value mine, Join join) {
    __syncthreads();
    all[threadIdx.x] = mine;
    __syncthreads();
    for (u32 half = LOSS_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) all[threadIdx.x] = join(all[threadIdx.x], all[threadIdx.x + half]);
        __syncthreads();
    }
    return all[0];
}

struct AddFloats {
    __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
};
struct TakeLarger {
    __device__ __forceinline__ Largest operator()(const Largest& a, const Largest& b) const { return larger(a, b); }
};

template <class T> __device__ __forceinline__ void softmax_cross_entropy(const LossArgs& args) {
    __shared__ float sums[LOSS_THREADS];
    __shared__ Largest maxima[LOSS_THREADS];
    const u32 picture = blockIdx.x, classes = args.classes, me = threadIdx.x;
    const T* const x = static_cast<const T*>(args.logits) + u64(picture) * classes;
    T* const dx = args.dlogits ? static_cast<T*>(args.dlogits) + u64(picture) * classes : nullptr;
    if (picture >= args.n_valid) { // padding
        if (dx)
            for (u32 j = me; j < classes; j += LOSS_THREADS) dx[j] = from_f32<T>(0.0f);
        return;
    }
    const u32 a = args.a[picture], b = args.b ? args.b[picture] : a;
    const float lambda = args.b ? args.scalars[3] : 1.0f;
    const float keep = 1.0f - args.smoothing, share = args.smoothing / float(classes);

    Largest best = {-infinity(), classes};
    for (u32 j = me; j < classes; j += LOSS_THREADS) {
        const Largest here = {to_f32(x[j]), j};
        best = larger(best, here);
    }
    best = over_block(maxima, best, TakeLarger());
    float total = 0.0f;
    for (u32 j = me; j < classes; j += LOSS_THREADS) total += expf(to_f32(x[j]) - best.value);
    total = over_block(sums, total, AddFloats());
    const float log_sum = best.value + logf(total);

    const float factor = args.scalars[4] / float(args.n_valid);
    float loss = 0.0f;
    for (u32 j = me; j < classes; j += LOSS_THREADS) {
        const float v = to_f32(x[j]);
        const float mixed = (j == a ? lambda : 0.0f) + (j == b ? 1.0f - lambda : 0.0f);
        const float target = keep * mixed + share;
        // A class without weight does not count, even where its loss is infinite.
        if (target != 0.0f) loss += target * (log_sum - v);
        if (dx) dx[j] = from_f32<T>((expf(v - best.value) / total - target) * factor);
    }
    loss = over_block(sums, loss, AddFloats());
    // The host checks labels before they come here; one that is no class may not pass for a loss.
    if (a >= classes || b >= classes) loss = infinity() - infinity();
    if (me == 0) {
        float2 result;
        result.x = loss;
        result.y = best.at == a ? 1.0f : 0.0f;
        args.pictures[picture] = result;
    }
}
INSTANTIATE(softmax_cross_entropy, softmax_cross_entropy, LossArgs, LOSS_THREADS)

struct MetricsArgs {
    const float2* pictures;
    float* metrics; // loss, hits, count, losses that are not finite
    u32 n_valid, accumulate;
};

struct AddDoubles {
    __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};

KERNEL(loss_metrics, MetricsArgs, LOSS_THREADS) {
    __shared__ double all[LOSS_THREADS];
    double loss = 0.0, hits = 0.0, lost = 0.0;
    for (u32 i = threadIdx.x; i < args.n_valid; i += LOSS_THREADS) {
        const float2 picture = args.pictures[i];
        loss += picture.x;
        hits += picture.y;
        lost += isfinite(picture.x) ? 0.0 : 1.0;
    }
    loss = over_block(all, loss, AddDoubles());
    hits = over_block(all, hits, AddDoubles());
    lost = over_block(all, lost, AddDoubles());
    if (threadIdx.x == 0) {
        const double fresh[4] = {loss, hits, double(args.n_valid), lost};
        for (int i = 0; i < 4; i++)
            args.metrics[i] = float(args.accumulate ? args.metrics[i] + fresh[i] : fresh[i]);
    }
}
