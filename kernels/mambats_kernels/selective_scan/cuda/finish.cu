// The last sums of the backward pass, in a fixed order: dA, dD, dbias over rows and chunks (blocks below `split`), dB and dC
// over clusters (the others, if MERGED = 0). One launch.
KERNEL BOUNDS(THREADS, 1) scan_finish(PARAMETER Arguments p) {
  const i64 wide = p.width * (STATES + 2), split = (wide + 31) / 32;
  if (blockIdx.x < split) {
    SHARED(memory);
    float* shared = (float*)memory;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const i64 e = (i64)blockIdx.x * 32 + lane, many = p.rows * p.chunks;
    float v = 0.f;
    if (e < wide) {
#pragma unroll 4
      for (i64 k = warp; k < many; k += 4) v += p.sums[k * wide + e];
    }
    shared[threadIdx.x] = v;
    __syncthreads();
    if (warp || e >= wide) return;
    v = (shared[lane] + shared[32 + lane]) + (shared[64 + lane] + shared[96 + lane]);
    if (e < p.width * STATES) p.dA[e] = v;
    else if (e < p.width * (STATES + 1)) { if (SKIP) p.dD[e - p.width * STATES] = v; }
    else if (BIASED) p.dbias[e - p.width * (STATES + 1)] = v;
    return;
  }
#if !MERGED
  const i64 per = PADDED / 4 * 2, clusters = CLUSTERS, e = (blockIdx.x - split) * THREADS + threadIdx.x;
  if (e >= p.rows * p.groups * p.tokens * per) return;
  const i64 at = e / per % p.tokens, row = e / per / p.tokens;  // row of the batch and group
  const int n = (int)(e % per % (PADDED / 4)) * 4, second = (int)(e % per / (PADDED / 4));
  const float* from = p.partial + ((row * clusters * p.tokens + at) * 2 + second) * PADDED + n;
  float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll 4
  for (i64 k = 0; k < clusters; k++) {
    const float4 u = *(const float4*)(from + k * p.tokens * 2 * PADDED);
    v.x += u.x; v.y += u.y; v.z += u.z; v.w += u.w;
  }
  const float scale = EXACT ? 1.f : 1.00035f;  // as in emit
  TYPE* to = (second ? p.dB : p.dC) + ((row / p.groups * p.tokens + at) * p.groups + row % p.groups) * STATES + n;
  put_sums(to, n, v, scale);
#endif
}
