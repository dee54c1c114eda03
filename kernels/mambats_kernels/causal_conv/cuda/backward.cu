// The convolution's gradients by runs: each thread loads RUN tokens and what they reach at once, as the forward does.

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
