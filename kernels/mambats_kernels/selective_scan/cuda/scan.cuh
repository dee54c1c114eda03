// What the scan's kernels share. Walking order k = 0..T-1 is time, or time backwards if REVERSE: only loads and stores know.
//
// A block of 128 threads holds 32 channels of one row and one time chunk; 4 lanes share a channel, SHARE states each.
// Defined before this file: TYPE (float, bf16, fp16), STATES (N), PADDED (N rounded up to 16), SEGMENT (tokens between
// saved states), and as 0 or 1 GATED (z), SKIP (D), BIASED (dt_bias), SOFTPLUS, GAPS, HOLD, PACKED, REVERSE,
// STARTED (initial states), WIDE (16-byte loads of x, dt, z, dy), WIDE_STATES (of B, C), EXACT (float32 to the last digits).
#define TILE 16
#define CHANNELS 32
#define THREADS 128
#define PIECE (16 / (int)sizeof(TYPE))
#define ROW (CHANNELS + PIECE)  // padded: four rows of a tile lie in different banks
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define ENTER 1  // marks of packed tokens, in walking order: a sequence's first token, its last one
#define LEAVE 2

struct Arguments {
  i64 rows, tokens, width, groups, sequences;  // sequences: n if PACKED, else rows
  i64 chunk, chunks;                           // tokens of a time chunk (a multiple of SEGMENT), and how many there are
  i64 x_row, x_token, dt_row, dt_token, z_row, z_token, dy_row, dy_token;  // strides in elements
  i64 b_row, b_token, b_group, c_row, c_token, c_group;
  const TYPE *x, *dt, *z, *dy, *B, *C;
  const float *A, *D, *bias, *gaps, *initial, *dfinal;
  const i64* borders;          // (n+1,)
  unsigned char* marks;        // (T rounded up to 16,)
  TYPE* y;
  float *final, *saved;        // (n or rows, D, N); (rows, segments, D, N)
  float *carry, *spans;        // (rows, chunks, D, N), (rows, chunks, D): -1 where a sequence begins inside
  TYPE *dx, *ddt, *dz, *dB, *dC;
  float *partial, *sums;       // (rows, G, clusters, T, 2, PADDED); (rows, chunks, D N + 2 D)
  float *dA, *dD, *dbias, *dinitial, *dgaps;  // dgaps: (rows, blocks, T)
};

DEVICE i64 token(const Arguments& p, i64 k) { return REVERSE ? p.tokens - 1 - k : k; }

// Where this block works. Tokens of its chunk are counted in walking order from `lo`; those from `from` to `to` are there.
struct Place {
  i64 row, lo;
  int length, from, to;
  int part, group, first, count, block;  // chunk; group of channels; first channel, how many of 32; number in the row
};

DEVICE Place place(const Arguments& p) {
  Place w;
  const u32 wide = (u32)(p.width / p.groups), per = (wide + CHANNELS - 1) / CHANNELS, blocks = per * (u32)p.groups;
  w.row = blockIdx.x / blocks;
  w.block = blockIdx.x % blocks;
  w.group = w.block / per;
  const u32 from = w.block % per * CHANNELS;
  w.first = w.group * wide + from;
  w.count = min(CHANNELS, (int)(wide - from));
  w.part = blockIdx.y;
  w.lo = w.part * p.chunk;
  w.length = (int)min(p.chunk, p.tokens - w.lo);
  w.from = 0;
  w.to = w.length;
  if (PACKED) {  // behind the last sequence nothing is read
    const i64 end = p.borders[p.sequences];
    if (REVERSE) w.from = (int)max((i64)0, min((i64)w.length, p.tokens - end - w.lo));
    else w.to = (int)max((i64)0, min((i64)w.length, end - w.lo));
  }
  return w;
}
DEVICE bool live(const Place& w, int k) { return (u32)(k - w.from) < (u32)(w.to - w.from); }

// Rows of a tensor as this block walks over them: its first one and the bytes from one to the next.
struct Rows { char* at; int step; };
DEVICE Rows rows(const Arguments& p, const Place& w, const void* tensor, i64 row, i64 step, i64 offset) {
  const int size = (int)sizeof(TYPE);
  return Rows{(char*)tensor + (w.row * row + token(p, w.lo) * step + offset) * size, (REVERSE ? -size : size) * (int)step};
}
// The same of a result (rows, T, D).
DEVICE Rows dense(const Arguments& p, const Place& w, void* tensor) {
  return rows(p, w, tensor, p.tokens * p.width, p.width, w.first);
}

// The packed sequence that holds a token: the first whose end lies behind it; n for the tail.
DEVICE i64 sequence(const Arguments& p, i64 at) {
  i64 lo = 0, hi = p.sequences;
  while (lo < hi) {
    const i64 middle = (lo + hi) / 2;
    if (p.borders[middle + 1] > at) hi = middle; else lo = middle + 1;
  }
  return lo;
}

DEVICE void pair(const float* from, float& a, float& b) { const float2 v = *(const float2*)from; a = v.x; b = v.y; }
DEVICE void pair(const bf16* from, float& a, float& b) {
  const u32 v = *(const u32*)from;
  a = __uint_as_float(v << 16);
  b = __uint_as_float(v & 0xffff0000u);
}
DEVICE void pair(const fp16* from, float& a, float& b) { a = wide(from[0]); b = wide(from[1]); }

// log(1 + e^v). Fast: the special function unit, and below e^v = 0.03, where its log2 loses digits, a series.
DEVICE float softplus(float v) {
#if EXACT
  return v > 20.f ? v : log1pf(expf(v));
#else
  const float e = fast_exp2(v * LOG2E);
  const float low = e * fmaf(-e, fmaf(-0.33333333f, e, 0.5f), 1.f);
  return v > 20.f ? v : e < 0.03f ? low : fast_log2(1.f + e) * LN2;
#endif
}
DEVICE float sigmoid(float v) {
#if EXACT
  return 1.f / (1.f + expf(-v));
#else
  return fast_reciprocal(1.f + fast_exp2(-LOG2E * v));
#endif
}
DEVICE float step_size(float v) { return SOFTPLUS ? softplus(v) : v; }

// (e^z - 1) / z for the decay e = e^z: below |z| = 0.25, where the difference cancels, a series (next term 1e-9).
DEVICE float held(float z, float e) {
  const float low = fmaf(z, fmaf(z, fmaf(z, fmaf(z, fmaf(z, fmaf(z, 1.f / 5040, 1.f / 720), 1.f / 120), 1.f / 24), 1.f / 6), 0.5f), 1.f);
  return fabsf(z) < 0.25f ? low : (e - 1.f) * fast_reciprocal(z);
}
// Its derivative by z, (z e - e + 1) / z^2: the same, from |z| = 0.5 on (next term 4e-8).
DEVICE float held_slope(float z, float e) {
  const float low = fmaf(z, fmaf(z, fmaf(z, fmaf(z, fmaf(z, fmaf(z, 1.f / 5760, 1.f / 840), 1.f / 144), 1.f / 30), 0.125f), 1.f / 3), 0.5f);
  const float r = fast_reciprocal(z);
  return fabsf(z) < 0.5f ? low : fmaf(z, e, 1.f - e) * r * r;
}

// `count` states of one channel, of which those from STATES on are not there; `from` is the first.
template <int count> DEVICE void put_states(float* to, int from, const float* h) {
#if STATES == PADDED
#pragma unroll
  for (int s = 0; s < count; s += 4) *(float4*)(to + from + s) = make_float4(h[s], h[s + 1], h[s + 2], h[s + 3]);
#else
#pragma unroll
  for (int s = 0; s < count; s++) if (from + s < STATES) to[from + s] = h[s];
#endif
}
template <int count> DEVICE void get_states(const float* to, int from, float* h) {
#if STATES == PADDED
#pragma unroll
  for (int s = 0; s < count; s += 4) {
    const float4 v = *(const float4*)(to + from + s);
    h[s] = v.x; h[s + 1] = v.y; h[s + 2] = v.z; h[s + 3] = v.w;
  }
#else
#pragma unroll
  for (int s = 0; s < count; s++) h[s] = from + s < STATES ? to[from + s] : 0.f;
#endif
}

// Four sums of dB or dC at states n to n+3.
DEVICE void put_sums(TYPE* to, int n, float4 v, float scale) {
  const float f[4] = {v.x, v.y, v.z, v.w};
  alignas(16) TYPE q[4];
#pragma unroll
  for (int s = 0; s < 4; s++) narrow(q[s], f[s] * scale);
#if STATES == PADDED
  if (sizeof(TYPE) == 4) *(uint4*)to = *(const uint4*)q; else *(uint2*)to = *(const uint2*)q;
#else
#pragma unroll
  for (int s = 0; s < 4; s++) if (n + s < STATES) to[s] = q[s];
#endif
}

// One tile of x, dt, z or dy into shared memory: 16 rows of 32 channels from token k of the chunk; zeros where none is.
DEVICE void load_channels(const Place& w, TYPE* to, const Rows& from, int k) {
#if WIDE
  const int t = threadIdx.x / (CHANNELS / PIECE), c = threadIdx.x % (CHANNELS / PIECE) * PIECE;
  if (THREADS == TILE * CHANNELS / PIECE || t < TILE)
    copy16(to + t * ROW + c, from.at + (i64)(k + t) * from.step + c * sizeof(TYPE), live(w, k + t) && c < w.count);
#else
  for (int e = threadIdx.x; e < TILE * CHANNELS; e += THREADS) {
    const int t = e / CHANNELS, c = e % CHANNELS;
    TYPE v;
    narrow(v, 0.f);
    if (live(w, k + t) && c < w.count) v = ((const TYPE*)(from.at + (i64)(k + t) * from.step))[c];
    to[t * ROW + c] = v;
  }
#endif
}

// One tile of B or C: 16 rows of PADDED states.
DEVICE void load_states(const Place& w, TYPE* to, const Rows& from, int k) {
#if WIDE_STATES
#pragma unroll
  for (int round = 0; round < (TILE * PADDED / PIECE + THREADS - 1) / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, t = e / (PADDED / PIECE), n = e % (PADDED / PIECE) * PIECE;
    if (TILE * PADDED / PIECE % THREADS == 0 || t < TILE)
      copy16(to + t * PADDED + n, from.at + (i64)(k + t) * from.step + n * sizeof(TYPE), live(w, k + t) && n < STATES);
  }
#else
  for (int e = threadIdx.x; e < TILE * PADDED; e += THREADS) {
    const int t = e / PADDED, n = e % PADDED;
    TYPE v;
    narrow(v, 0.f);
    if (live(w, k + t) && n < STATES) v = ((const TYPE*)(from.at + (i64)(k + t) * from.step))[n];
    to[e] = v;
  }
#endif
}

// Gaps and marks of one tile. In reverse a token uses the gap of its successor in time.
DEVICE void load_times(const Arguments& p, const Place& w, float* gaps, unsigned char* marks, int k) {
  if (GAPS && threadIdx.x < TILE) {
    const i64 at = token(p, w.lo + k + threadIdx.x) + REVERSE;
    copy4(gaps + threadIdx.x, p.gaps + w.row * p.tokens + at, live(w, k + threadIdx.x) && at < p.tokens);
  }
  if (PACKED && threadIdx.x == TILE) copy16(marks, p.marks + w.lo + k, true);
}

// The gap of token t of a tile, from what load_times brought. Where no token is, no time passes: the state stands still.
DEVICE float gap_of(const Place& w, const float* gaps, const unsigned char* marks, int k, int t) {
  if (!live(w, k + t)) return 0.f;
  if (!GAPS || (REVERSE && (w.lo + k + t == 0 || (PACKED && (marks[t] & ENTER))))) return 1.f;
  return gaps[t];
}

// One tile of results from shared memory to (rows, T, D).
DEVICE void store_channels(const Place& w, const Rows& to, const TYPE* from, int k) {
#if WIDE
  const int t = threadIdx.x / (CHANNELS / PIECE), c = threadIdx.x % (CHANNELS / PIECE) * PIECE;
  if ((THREADS == TILE * CHANNELS / PIECE || t < TILE) && k + t < w.length && c < w.count)
    *(uint4*)(to.at + (i64)(k + t) * to.step + c * sizeof(TYPE)) = *(const uint4*)(from + t * ROW + c);
#else
  for (int e = threadIdx.x; e < TILE * CHANNELS; e += THREADS) {
    const int t = e / CHANNELS, c = e % CHANNELS;
    if (k + t < w.length && c < w.count) ((TYPE*)(to.at + (i64)(k + t) * to.step))[c] = from[t * ROW + c];
  }
#endif
}

// B or C of one tile as floats.
DEVICE void widen_states(float* to, const TYPE* from) {
#pragma unroll
  for (int round = 0; round < TILE * PADDED / 2 / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x;
    float a, b;
    pair(from + 2 * e, a, b);
    ((float2*)to)[e] = make_float2(a, b);
  }
}
