// What the convolution's kernels share: where a thread works, which sequence a token is of, and packs of channels.
//
// Defined by the host: INPUT (type of x), WEIGHT (of weight and bias), BORDER (of cu_seqlens), VECTOR (channels a
// thread), RAW (the type of that many INPUT at once), RUN (tokens a thread takes at a time), LANES (threads of a block
// side by side along the channels), THREADS, TAPS, and as 0 or 1: ALIGNED, SILU, BIAS, INITIAL, PACKED, REVERSE.
//
// A "place" counts tokens in walking order: from the first one, or with REVERSE from the last one of the batch row.
#define PAST (TAPS - 1)
#define SLOTS (THREADS / LANES)

struct Arguments {
  const INPUT* x;
  const WEIGHT* weight;
  const WEIGHT* bias;
  const INPUT* initial;
  const BORDER* borders;
  INPUT* y;         // backward: dx
  INPUT* final;     // backward: dinitial, or null
  const INPUT* dy;
  const INPUT* dfinal;
  float* partial;   // (shares, TAPS + 1, width)
  i64 x_batch, x_row, dy_batch, dy_row;
  int tokens, width, sequences, runs, runs_of_row, columns, early;
  int tiles;        // runs of a block (backward.cu), tokens of a thread (walk.cu)
};

union Pack {
  RAW raw;
  INPUT v[VECTOR];
};

// Places [begin, end) of sequence `row`; rows that do not exist stand for tokens of no sequence.
struct Span {
  int begin, end, row;
};

DEVICE bool exists(const Arguments& p, Span s) { return s.row >= 0 && s.row < p.sequences; }

// Whatever the borders hold, places stay in [0, tokens].
DEVICE Span span_of(const Arguments& p, int row) {
#if PACKED
  if (row < 0) return {0, p.tokens, row};
  i64 low = (i64)p.borders[row], high = row < p.sequences ? (i64)p.borders[row + 1] : (i64)p.tokens;
  low = low < 0 ? 0 : low > p.tokens ? p.tokens : low;
  high = high < low ? low : high > p.tokens ? p.tokens : high;
  return REVERSE ? Span{(int)(p.tokens - high), (int)(p.tokens - low), row} : Span{(int)low, (int)high, row};
#else
  return {0, p.tokens, row};
#endif
}

// The sequence of a place; in a batch that is not packed each row is one.
DEVICE Span span_at(const Arguments& p, int place, int batch_row) {
#if PACKED
  int token = REVERSE ? p.tokens - 1 - place : place, low = 0, high = p.sequences;
  while (low < high) {
    int middle = (low + high) >> 1;
    if ((i64)p.borders[middle + 1] > token) high = middle; else low = middle + 1;
  }
  Span s = span_of(p, low);
  if (place < s.begin || place >= s.end) s = {0, p.tokens, -1};  // borders that fall
  return s;
#else
  return span_of(p, batch_row);
#endif
}

// The next sequence that has a token at or after its end.
DEVICE Span span_after(const Arguments& p, Span s) {
#if PACKED
  int end = s.end;
  do {
    s = span_of(p, s.row + (REVERSE ? -1 : 1));
  } while (s.end <= end && exists(p, s));
  if (s.begin > end || !exists(p, s)) s = {end, p.tokens, s.row < 0 ? -1 : s.row};
#endif
  return s;
}

DEVICE Pack load(const INPUT* from) {
  Pack pack;
  pack.raw = *(const RAW*)from;
  return pack;
}

DEVICE Pack nothing() {
  Pack pack;
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) narrow(pack.v[v], 0.f);
  return pack;
}

DEVICE void store(INPUT* to, const float* values) {
  Pack pack;
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) narrow(pack.v[v], values[v]);
  *(RAW*)to = pack.raw;
}

// Offset of a place in a tensor with these strides.
DEVICE i64 offset(const Arguments& p, int batch_row, int place, i64 batch_stride, i64 row_stride) {
  return batch_row * batch_stride + (REVERSE ? p.tokens - 1 - place : place) * row_stride;
}

// Zeros at the places of [first, first + RUN) that are in s, which is no sequence of a packed batch.
DEVICE void blank_run(const Arguments& p, Span s, int first, int channel) {
  float zero[VECTOR] = {};
  for (int place = first < s.begin ? s.begin : first; place < first + RUN && place < s.end; ++place)
    store(p.y + offset(p, 0, place, 0, p.width) + channel, zero);
}

// x at a place of s, or the initial state before its beginning, or nothing behind its end.
DEVICE Pack input_at(const Arguments& p, Span s, int batch_row, int place, int channel) {
  if (place >= s.begin && place < s.end) return load(p.x + offset(p, batch_row, place, p.x_batch, p.x_row) + channel);
#if INITIAL
  int kept = place - s.begin + PAST;
  if (kept >= 0 && kept < PAST) return load(p.initial + ((i64)s.row * PAST + kept) * p.width + channel);
#endif
  return nothing();
}

struct Filter {
  float tap[TAPS][VECTOR];
  float bias[VECTOR];
};

DEVICE Filter filter_of(const Arguments& p, int channel) {
  Filter f;
#if ALIGNED  // the filters of a thread are whole times 16 bytes
  const int each = 16 / sizeof(WEIGHT);
  union { uint4 raw[VECTOR * TAPS / each]; WEIGHT v[VECTOR * TAPS]; } taps;
#pragma unroll
  for (int i = 0; i < VECTOR * TAPS / each; ++i) taps.raw[i] = ((const uint4*)(p.weight + (i64)channel * TAPS))[i];
#endif
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) {
#pragma unroll
    for (int k = 0; k < TAPS; ++k) {
#if ALIGNED
      f.tap[k][v] = wide(taps.v[v * TAPS + k]);
#else
      f.tap[k][v] = wide(p.weight[(i64)(channel + v) * TAPS + k]);
#endif
    }
    f.bias[v] = BIAS ? wide(p.bias[channel + v]) : 0.f;
  }
  return f;
}

// The sum of taps for the token at line[PAST].
DEVICE void convolve(const Filter& f, const Pack* line, float* y) {
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) {
    float sum = f.bias[v];
#pragma unroll
    for (int k = 0; k < TAPS; ++k) sum += f.tap[k][v] * wide(line[k].v[v]);
    y[v] = sum;
  }
}

DEVICE float sigmoid(float v) { return fast_reciprocal(1.f + fast_exp2(-1.4426950408889634f * v)); }
