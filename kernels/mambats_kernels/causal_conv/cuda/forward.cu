// The causal convolution: each thread holds VECTOR channels of RUN + TAPS - 1 tokens, all loaded before the first sum, so
// that enough bytes are under way to fill the memory's pipe.

// The last TAPS - 1 inputs of each sequence, its past included; done by blocks of their own.
DEVICE void keep_final(const Arguments& p) {
#if TAPS > 1
  int packs = p.width / VECTOR;
  i64 job = (i64)blockIdx.x * THREADS + threadIdx.x;
  int channel = (int)(job % packs) * VECTOR;
  i64 kept = job / packs;
  int row = (int)(kept / PAST);
  if (row >= p.sequences) return;
  Span s = span_of(p, row);
  int place = s.end - PAST + (int)(kept % PAST);
  Pack pack = input_at(p, s, PACKED ? 0 : row, place, channel);
  *(RAW*)(p.final + kept * p.width + channel) = pack.raw;
#endif
}

DEVICE void activate(float* sum) {
#if SILU
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) sum[v] *= sigmoid(sum[v]);
#endif
}

// All places of [first, first + RUN) that are in s.
DEVICE void convolve_run(const Arguments& p, const Filter& f, Span s, int batch_row, int first, int channel) {
  Pack line[PAST + RUN];
  float sum[VECTOR];
  INPUT* y = p.y + offset(p, batch_row, first, (i64)p.tokens * p.width, p.width) + channel;
  i64 step = REVERSE ? -(i64)p.width : (i64)p.width;
  int from = s.begin - first, to = s.end - first;
  bool whole = first - PAST >= s.begin && first + RUN <= s.end;
  if (whole) {
    const INPUT* x = p.x + offset(p, batch_row, first, p.x_batch, p.x_row) + channel;
    i64 back = REVERSE ? -p.x_row : p.x_row;
#pragma unroll
    for (int i = 0; i < PAST + RUN; ++i) line[i] = load(x + (i - PAST) * back);
  } else {
#pragma unroll
    for (int i = 0; i < PAST + RUN; ++i) line[i] = input_at(p, s, batch_row, first - PAST + i, channel);
  }
#pragma unroll
  for (int i = 0; i < RUN; ++i) {
    convolve(f, line + i, sum);
    activate(sum);
    if (i >= from && i < to) store(y + i * step, sum);
  }
}

KERNEL BOUNDS(THREADS, RESIDENT) conv_forward(PARAMETER Arguments p) {
  if (blockIdx.x < p.early) {
    keep_final(p);
    return;
  }
  u32 block = blockIdx.x - p.early;
  int channel = ((int)(block % p.columns) * LANES + (int)(threadIdx.x % LANES)) * VECTOR;
  i64 run = (i64)(block / p.columns) * SLOTS + threadIdx.x / LANES;
  if (channel >= p.width || run >= p.runs) return;
  int batch_row = (int)run / p.runs_of_row, first = ((int)run - batch_row * p.runs_of_row) * RUN;
  Filter f = filter_of(p, channel);
  Span s = span_at(p, first, batch_row);
#if PACKED
  for (;; s = span_after(p, s)) {
    if (exists(p, s)) convolve_run(p, f, s, batch_row, first, channel); else blank_run(p, s, first, channel);
    if (s.end >= first + RUN || s.end >= p.tokens) break;
  }
#else
  convolve_run(p, f, s, batch_row, first, channel);
#endif
}
