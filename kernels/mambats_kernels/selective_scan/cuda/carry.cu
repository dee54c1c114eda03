// The adjoint's walk over one time chunk from zero: what flows out at its first token, and the chunk's span. Like PHASE 1
// of the forward scan, in the other direction.
struct Ring { Rows* from; TYPE *dt, *z, *dy, *C; float2* steps; float *c, *gaps; unsigned char* marks; };

DEVICE Ring ring(char* memory) {
  Ring r;
  r.from = (Rows*)memory;
  r.dt = (TYPE*)(r.from + LINES);
  r.z = r.dt + 2 * TILE * ROW;
  r.dy = r.z + 2 * TILE * ROW;
  r.C = r.dy + 2 * TILE * ROW;
  r.steps = (float2*)(r.C + 2 * TILE * PADDED);
  r.c = (float*)(r.steps + TILE * CHANNELS);
  r.gaps = r.c + TILE * PADDED;
  r.marks = (unsigned char*)(r.gaps + 2 * TILE);
  return r;
}

DEVICE void load(const Arguments& p, const Place& w, const Ring& r, int i, int stage) {
  const int k = i * TILE, tile = stage * TILE * ROW;
  load_channels<1>(w, r.dt + tile, 0, r.from + X + 1, k);
  if (GATED) load_channels<2>(w, r.z + tile, 2 * TILE * ROW, r.from + Z, k);
  else load_channels<1>(w, r.dy + tile, 0, r.from + Z + 1, k);
  load_states<1>(w, r.C + stage * TILE * PADDED, 0, r.from + STATE + 1, k);
  load_times(p, w, r.gaps + stage * TILE, r.marks + stage * TILE, k);
}

DEVICE void convert(const Place& w, const Ring& r, int i, int stage, float bias0, float bias1) {
#pragma unroll
  for (int round = 0; round < TILE * CHANNELS / 2 / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, t = e / (CHANNELS / 2), at = (stage * TILE + t) * ROW + e % (CHANNELS / 2) * 2;
    float d0, d1, g0, g1;
    pair(r.dt + at, d0, d1);
    pair(r.dy + at, g0, g1);
    if (GATED) {
      float z0, z1;
      pair(r.z + at, z0, z1);
      g0 *= z0 * sigmoid(z0);
      g1 *= z1 * sigmoid(z1);
    }
    const float gap = gap_of(w, r.gaps + stage * TILE, r.marks + stage * TILE, i * TILE, t);
    ((float4*)r.steps)[e] = make_float4(step_size(d0 + bias0) * gap, g0, step_size(d1 + bias1) * gap, g1);
  }
  widen_states(r.c, r.C + stage * TILE * PADDED);
}

KERNEL BOUNDS(THREADS, 1) scan_carry(PARAMETER Arguments p) {
  SHARED(memory);
  const Ring r = ring(memory);
  const Place w = place(p, 0, 2);
  const int lane = threadIdx.x % 4, c = threadIdx.x / 4, d = w.first + c, from = lane * (PADDED / 4);
  const bool there = c < w.count;
  const int tiles = (w.length + TILE - 1) / TILE;
  if (ROWS && !tiles) return;
  find_rows(p, w, r.from);
  __syncthreads();
  load(p, w, r, tiles - 1, tiles - 1 & 1);
  commit_copies();
  float a[PADDED / 4], h[PADDED / 4], span = 0.f;
#pragma unroll
  for (int s = 0; s < PADDED / 4; s++) a[s] = h[s] = 0.f;
  if (there) get_states<PADDED / 4>(rates_of(p, w) + (i64)d * STATES, from, a);
#pragma unroll
  for (int s = 0; s < PADDED / 4; s++) a[s] *= LOG2E;
  const int pairs = threadIdx.x % (CHANNELS / 2) * 2;
  const float bias0 = BIASED && pairs < w.count ? p.bias[w.first + pairs] : 0.f;
  const float bias1 = BIASED && pairs + 1 < w.count ? p.bias[w.first + pairs + 1] : 0.f;
  for (int i = tiles - 1; i >= 0; i--) {
    const int stage = i & 1;
    wait_copies<0>();
    __syncthreads();
    if (i > 0) load(p, w, r, i - 1, stage ^ 1);
    commit_copies();
    convert(w, r, i, stage, bias0, bias1);
    __syncthreads();
#pragma unroll 8
    for (int t = TILE - 1; t >= 0; t--) {
      const float2 step = r.steps[t * CHANNELS + c];
      const int mark = PACKED ? r.marks[stage * TILE + t] : 0;
      const i64 k = w.lo + (i64)i * TILE + t;
      if (PACKED && (mark & LEAVE)) {
#pragma unroll
        for (int s = 0; s < PADDED / 4; s++) h[s] = 0.f;
        if (!BOTH && p.dfinal && there) get_states<PADDED / 4>(p.dfinal + (sequence(p, token(p, w.back, k)) * p.width + d) * STATES, from, h);
      }
      span += step.x;
#pragma unroll
      for (int s = 0; s < PADDED / 4; s += 4) {
        const float4 v = *(const float4*)(r.c + t * PADDED + from + s);
        h[s] = fast_exp2(step.x * a[s]) * fmaf(v.x, step.y, h[s]);
        h[s + 1] = fast_exp2(step.x * a[s + 1]) * fmaf(v.y, step.y, h[s + 1]);
        h[s + 2] = fast_exp2(step.x * a[s + 2]) * fmaf(v.z, step.y, h[s + 2]);
        h[s + 3] = fast_exp2(step.x * a[s + 3]) * fmaf(v.w, step.y, h[s + 3]);
      }
      if (PACKED && (mark & ENTER)) {
        span = -1e30f;
#pragma unroll
        for (int s = 0; s < PADDED / 4; s++) h[s] = 0.f;
      }
    }
  }
  if (!there) return;
  const i64 slot = ROWS ? w.seat : w.seat * p.chunks + w.part;
  put_states<PADDED / 4>(p.carry + (slot * p.width + d) * STATES, from, h);
  if (lane == 0) p.spans[slot * p.width + d] = span < 0.f ? -1.f : span;
}
