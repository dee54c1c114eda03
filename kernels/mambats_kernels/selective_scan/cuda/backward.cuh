// What the scan backward is made of: tiles in shared memory, the order of their turns, sums over channels. The kernel
// itself, and what it does, stand in backward.cu.
#define PASSES (PADDED / 16)
#define STEP (CHANNELS + 4)  // padded row of a converted tile, in float4
#define PLACES (SPARSE ? 4 : 2)  // of tiles' first states
#define SETS (EXACT ? 4 : 8)  // partial sums of dB and dC that meet in shared memory

struct Store {
  Rows *from, *sums;              // sums: where the partial sums of dC and dB go
  TYPE *x, *dt, *z, *dy, *B, *C;  // two tiles each
  float4* steps;                  // span, delta * x, gradient of the ungated output, x
  float *b, *c, *part, *gaps, *slope;
  float4 *first, *kept;           // first states of tiles; carry and dA of each pass
  unsigned char* marks;
};

DEVICE Store store(char* memory) {
  Store r;
  r.from = (Rows*)memory;
  r.sums = r.from + LINES;
  r.x = (TYPE*)(r.sums + 2);
  r.dt = r.x + 2 * TILE * ROW;
  r.z = r.dt + 2 * TILE * ROW;
  r.dy = r.z + 2 * TILE * ROW;
  r.B = r.dy + 2 * TILE * ROW;
  r.C = r.B + 2 * TILE * PADDED;
  r.steps = (float4*)(r.C + 2 * TILE * PADDED);
  r.b = (float*)(r.steps + TILE * STEP);
  r.c = r.b + (EXACT ? 0 : TILE * PADDED);
  r.part = r.c + (EXACT ? 0 : TILE * PADDED);
  r.first = (float4*)(r.part + SETS * TILE * 32);
  r.kept = r.first + (PASSES == 1 ? PLACES * THREADS : 0);
  r.gaps = (float*)(r.kept + (PASSES > 1 ? 2 * PASSES * THREADS : 0));
  r.slope = r.gaps + 2 * TILE;
  r.marks = (unsigned char*)(r.slope + 4 * TILE);
  return r;
}

// Which tile comes next: backward, and before the last of four the one before it forward (again = 1).
struct Turn { int tile, again; };
DEVICE Turn backward(int tile) { return SPARSE && tile % 4 == 3 ? Turn{tile - 1, 1} : Turn{tile, 0}; }
DEVICE Turn following(Turn now) { return now.again ? Turn{now.tile + 1, 0} : now.tile % 4 == 3 ? Turn{now.tile - 1, 0} : backward(now.tile - 1); }

DEVICE void load(const Arguments& p, const Place& w, const Store& r, Turn turn, int stage) {
  const int k = turn.tile * TILE, tile = stage * TILE * ROW, states = stage * TILE * PADDED;
  load_channels<2>(w, r.x + tile, 2 * TILE * ROW, r.from + X, k);
  if (turn.again) load_states<1>(w, r.B + states, 0, r.from + STATE, k);
  else {
    if (GATED) load_channels<2>(w, r.z + tile, 2 * TILE * ROW, r.from + Z, k);
    else load_channels<1>(w, r.dy + tile, 0, r.from + Z + 1, k);
    load_states<2>(w, r.B + states, 2 * TILE * PADDED, r.from + STATE, k);
  }
  load_times(p, w, r.gaps + stage * TILE, r.marks + stage * TILE, k);
}

DEVICE void convert(const Place& w, const Store& r, Turn turn, int stage, float bias0, float bias1) {
  const int k = turn.tile * TILE, tile = stage * TILE * ROW;
#pragma unroll
  for (int round = 0; round < TILE * CHANNELS / 2 / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, t = e / (CHANNELS / 2), c = e % (CHANNELS / 2) * 2, at = tile + t * ROW + c;
    float x0, x1, d0, d1, g0 = 0.f, g1 = 0.f;
    pair(r.x + at, x0, x1);
    pair(r.dt + at, d0, d1);
    d0 = step_size(d0 + bias0);
    d1 = step_size(d1 + bias1);
    if (!turn.again) {
      pair(r.dy + at, g0, g1);
      if (GATED) {
        float z0, z1;
        pair(r.z + at, z0, z1);
        g0 *= z0 * sigmoid(z0);
        g1 *= z1 * sigmoid(z1);
      }
    }
    const float gap = gap_of(w, r.gaps + stage * TILE, r.marks + stage * TILE, k, t);
    r.steps[t * STEP + c] = make_float4(d0 * gap, HOLD ? x0 : d0 * x0, g0, x0);
    r.steps[t * STEP + c + 1] = make_float4(d1 * gap, HOLD ? x1 : d1 * x1, g1, x1);
  }
  if (EXACT) return;  // they are floats already
  widen_states(r.b, r.B + stage * TILE * PADDED);
  if (!turn.again) widen_states(r.c, r.C + stage * TILE * PADDED);
}

// Sums of four steps over the lanes of a channel (lane bits 3 and 2); the lanes' share says whose step is received.
DEVICE float sum_quad(const float* y, int share) {
  const bool high = share & 2, odd = share & 1;
  const float a = (high ? y[2] : y[0]) + exchange(high ? y[0] : y[2], 8);
  const float b = (high ? y[3] : y[1]) + exchange(high ? y[1] : y[3], 8);
  return (odd ? b : a) + exchange(odd ? a : b, 4);
}

// dC and dB of one step (v: four states each) summed over the eight channels of a warp. Set `part`: [t / 2][C, B][t % 2][16].
// Steps come in falling order; sums of an odd one wait in `sum` for the even one.
DEVICE void sum_channels(float* part, float* sum, const float* v, const float* one, int t, int lane, int warp) {
  const int share = lane >> 2 & 3;
#if EXACT
  const bool u = lane & 16, high = lane & 2, odd = lane & 1;
  float k[4], m[2];
#pragma unroll
  for (int q = 0; q < 4; q++) k[q] = (u ? v[4 + q] : v[q]) + exchange(u ? v[q] : v[4 + q], 16);
#pragma unroll
  for (int q = 0; q < 2; q++) m[q] = (high ? k[2 + q] : k[q]) + exchange(high ? k[q] : k[2 + q], 2);
  const float all = (odd ? m[1] : m[0]) + exchange(odd ? m[0] : m[1], 1);
  part[warp * TILE * 32 + t / 2 * 64 + (u ? 32 : 0) + (t & 1) * 16 + share * 4 + (high ? 2 : 0) + (odd ? 1 : 0)] = all;
#else
  // The values are the left operand, a column of a unit matrix the right one: four values a lane and instruction.
  const float low[4] = {v[0], v[4], v[1], v[5]}, up[4] = {v[2], v[6], v[3], v[7]};
  if (t & 1) {
    multiply_tf32(sum, low, one[4], one[5]);
    multiply_add_tf32(sum, up, one[6], one[7]);
  } else {
    multiply_add_tf32(sum, low, one[0], one[1]);
    multiply_add_tf32(sum, up, one[2], one[3]);
    float* to = part + (warp * 2 + (lane >> 4)) * TILE * 32 + t * 32 + (lane & 3) / 2 * 16 + share * 4 + (lane & 1) * 2;
    *(float2*)to = make_float2(sum[0], sum[1]);
    *(float2*)(to + 32) = make_float2(sum[2], sum[3]);
  }
#endif
}

// Sum the sets of a finished pass and write them: thread e holds four states of place e of 8 x (C, B) x 2 tokens x 4.
DEVICE void post(const Place& w, const Store& r, const Rows* to, int tile, int pass) {
  const int e = threadIdx.x, k = tile * TILE + e / 16 * 2 + e / 4 % 2, second = e / 8 % 2, n = pass * 16 + e % 4 * 4;
  float4 v = ((const float4*)r.part)[e];
#pragma unroll
  for (int set = 1; set < SETS; set++) {
    const float4 u = ((const float4*)r.part)[set * TILE * 8 + e];
    v.x += u.x; v.y += u.y; v.z += u.z; v.w += u.w;
  }
  if (k >= w.length) return;
  char* at = to[second].at + (i64)k * to[second].step;
  if (MERGED) put_sums((TYPE*)at + n, n, v, EXACT ? 1.f : TRUNCATED);
  else if (EXACT) write16((float*)at + n, make_uint4(__float_as_uint(v.x), __float_as_uint(v.y), __float_as_uint(v.z), __float_as_uint(v.w)));
  else {
    const float f[4] = {v.x, v.y, v.z, v.w};
    const Packed q = pack(f);
    write8((Packed*)at + n / 4, make_uint2(q.low, q.high));
  }
}
