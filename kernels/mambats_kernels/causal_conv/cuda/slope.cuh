// Slopes of the convolution: what it gave before the activation is computed anew, and its slope goes into the TAPS tokens
// that it came from, and into the sums over tokens that make dweight and dbias: first in registers, then over a block in
// order, then over blocks in order by conv_sum. Defined besides: DFINAL (0 or 1).

struct Slopes {
  float tap[TAPS][VECTOR];
  float bias[VECTOR];
};

// The slope before the activation, of the token at line[PAST].
DEVICE void slope_before(const Filter& f, const Pack* line, Pack dy, float* g) {
#if SILU
  float y[VECTOR];
  convolve(f, line, y);
#endif
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) {
    g[v] = wide(dy.v[v]);
#if SILU
    float s = sigmoid(y[v]);
    g[v] *= s * (1.f + y[v] * (1.f - s));
#endif
  }
}

DEVICE Pack dy_at(const Arguments& p, Span s, int batch_row, int place, int channel) {
  if (place < s.begin || place >= s.end) return nothing();
  return load(p.dy + offset(p, batch_row, place, p.dy_batch, p.dy_row) + channel);
}

// What the final state's slope gives to a place of s: its last PAST places, and those before its beginning.
DEVICE void add_final(const Arguments& p, Span s, int place, int channel, float* dx) {
#if DFINAL && TAPS > 1
  int kept = place - (s.end - PAST);
  if (kept < 0 || kept >= PAST) return;
  Pack pack = load(p.dfinal + ((i64)s.row * PAST + kept) * p.width + channel);
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) dx[v] += wide(pack.v[v]);
#endif
}

// The slopes of the initial states, by blocks of their own: a thread has VECTOR channels of one sequence.
DEVICE void pull_initial(const Arguments& p) {
#if INITIAL && TAPS > 1
  int packs = p.width / VECTOR;
  i64 job = (i64)blockIdx.x * THREADS + threadIdx.x;
  int channel = (int)(job % packs) * VECTOR, row = (int)(job / packs), batch_row = PACKED ? 0 : row;
  if (job / packs >= p.sequences) return;
  Filter f = filter_of(p, channel);
  Span s = span_of(p, row);
  Pack line[PAST + PAST];
  float dx[PAST][VECTOR] = {};
#pragma unroll
  for (int i = 0; i < PAST + PAST; ++i) line[i] = input_at(p, s, batch_row, s.begin - PAST + i, channel);
#pragma unroll
  for (int i = 0; i < PAST; ++i) {
    float g[VECTOR];
    slope_before(f, line + i, dy_at(p, s, batch_row, s.begin + i, channel), g);
    // Place begin + i reads begin + i - lag, which is kept number PAST + i - lag, through tap PAST - lag.
#pragma unroll
    for (int k = 0; k < PAST - i; ++k) {
#pragma unroll
      for (int v = 0; v < VECTOR; ++v) dx[i + k][v] += f.tap[k][v] * g[v];
    }
  }
#pragma unroll
  for (int i = 0; i < PAST; ++i) {
    add_final(p, s, s.begin - PAST + i, channel, dx[i]);
    store(p.final + ((i64)row * PAST + i) * p.width + channel, dx[i]);
  }
#endif
}

// Sum one slope over the block's slots in order and write it for this share.
DEVICE void sum_slots(const Arguments& p, float* shared, const float* own, float* to, bool there) {
  int lane = threadIdx.x % LANES, slot = threadIdx.x / LANES;
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) shared[slot * (LANES * VECTOR) + lane * VECTOR + v] = there ? own[v] : 0.f;
  __syncthreads();
  int start = (int)((blockIdx.x - p.early) % p.columns) * LANES * VECTOR;
  for (int c = threadIdx.x; c < LANES * VECTOR; c += THREADS) {
    float sum = 0.f;
    for (int k = 0; k < SLOTS; ++k) sum += shared[k * (LANES * VECTOR) + c];
    if (start + c < p.width) to[start + c] = sum;
  }
  __syncthreads();
}
