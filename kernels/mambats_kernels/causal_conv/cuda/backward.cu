// The convolution's gradients. What it gave before the activation is computed anew. Each thread walks over its tokens once:
// the slope of a token before the activation goes into the TAPS tokens that it came from, and into the sums over tokens
// that make dweight and dbias: first in registers, then over a block in order, then over blocks in order by conv_sum.
// Defined besides: DFINAL (0 or 1).

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

// All places of [first, first + RUN) that are in s: dx, and what they add to the filter's slopes.
DEVICE void pull_run(const Arguments& p, const Filter& f, Slopes& sums, Span s, int batch_row, int first, int channel) {
  Pack line[PAST + RUN + PAST], dy[RUN + PAST];
  float dx[TAPS][VECTOR] = {};
  INPUT* to = p.y + offset(p, batch_row, first, (i64)p.tokens * p.width, p.width) + channel;
  i64 step = REVERSE ? -(i64)p.width : (i64)p.width;
  int begin = s.begin - first, end = s.end - first;
  bool whole = first - PAST >= s.begin && first + RUN + PAST <= s.end;
  if (whole) {
    const INPUT* x = p.x + offset(p, batch_row, first, p.x_batch, p.x_row) + channel;
    const INPUT* from = p.dy + offset(p, batch_row, first, p.dy_batch, p.dy_row) + channel;
    i64 x_step = REVERSE ? -p.x_row : p.x_row, dy_step = REVERSE ? -p.dy_row : p.dy_row;
#pragma unroll
    for (int i = 0; i < PAST + RUN + PAST; ++i) line[i] = load(x + (i - PAST) * x_step);
#pragma unroll
    for (int i = 0; i < RUN + PAST; ++i) dy[i] = load(from + i * dy_step);
  } else {
#pragma unroll
    for (int i = 0; i < PAST + RUN + PAST; ++i) line[i] = input_at(p, s, batch_row, first - PAST + i, channel);
#pragma unroll
    for (int i = 0; i < RUN + PAST; ++i) dy[i] = dy_at(p, s, batch_row, first + i, channel);
  }
#pragma unroll
  for (int i = 0; i < RUN + PAST; ++i) {
    float g[VECTOR];
    slope_before(f, line + i, dy[i], g);
    // dx[lag] belongs to place i - lag; the oldest one is complete after this token.
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) {
#pragma unroll
      for (int lag = PAST; lag > 0; --lag) dx[lag][v] = dx[lag - 1][v] + f.tap[PAST - lag][v] * g[v];
      dx[0][v] = f.tap[PAST][v] * g[v];
    }
    if (i < RUN) {
#pragma unroll
      for (int v = 0; v < VECTOR; ++v) {
        sums.bias[v] += g[v];
#pragma unroll
        for (int k = 0; k < TAPS; ++k) sums.tap[k][v] += g[v] * wide(line[i + k].v[v]);
      }
    }
    if (i >= PAST) {
      if (DFINAL && !whole) add_final(p, s, first + i - PAST, channel, dx[PAST]);
      if (i - PAST >= begin && i - PAST < end) store(to + (i - PAST) * step, dx[PAST]);
    }
  }
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

KERNEL BOUNDS(THREADS, RESIDENT) conv_backward(PARAMETER Arguments p) {
  SHARED(memory);
  if (blockIdx.x < p.early) {
    pull_initial(p);
    return;
  }
  u32 block = blockIdx.x - p.early, share = block / p.columns;
  int channel = ((int)(block % p.columns) * LANES + (int)(threadIdx.x % LANES)) * VECTOR;
  bool there = channel < p.width;
  Slopes sums = {};
  if (there) {
    Filter f = filter_of(p, channel);
#pragma unroll 1
    for (int tile = 0; tile < p.tiles; ++tile) {
      i64 run = ((i64)share * p.tiles + tile) * SLOTS + threadIdx.x / LANES;
      if (run >= p.runs) break;
      int batch_row = (int)run / p.runs_of_row, first = ((int)run - batch_row * p.runs_of_row) * RUN;
      Span s = span_at(p, first, batch_row);
#if PACKED
      for (;; s = span_after(p, s)) {
        if (exists(p, s)) pull_run(p, f, sums, s, batch_row, first, channel); else blank_run(p, s, first, channel);
        if (s.end >= first + RUN || s.end >= p.tokens) break;
      }
#else
      pull_run(p, f, sums, s, batch_row, first, channel);
#endif
    }
  }
  float* to = p.partial + (i64)share * (TAPS + 1) * p.width;
#pragma unroll
  for (int k = 0; k < TAPS; ++k) sum_slots(p, (float*)memory, sums.tap[k], to + (i64)k * p.width, there);
  if (BIAS) sum_slots(p, (float*)memory, sums.bias, to + (i64)TAPS * p.width, there);
}
