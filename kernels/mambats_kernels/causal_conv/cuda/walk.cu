// The convolution's gradients by walks: each thread goes over a segment of tokens, RUN at a time, the next ones already
// under way. What a token's slope adds to earlier ones rolls along in registers, so nothing is computed twice but at the
// segment's end.

struct Walk {
  Span s;
  int batch_row, first, last, channel;  // own places: [first, last)
  const INPUT* x;                       // of place 0
  const INPUT* dy;
  INPUT* dx;
  Pack past[PAST + 1];                  // the inputs before the next place, oldest first
  float open[PAST + 1][VECTOR];         // slopes of x not complete yet: [k] of the place k before the next one
};

DEVICE i64 stride(i64 step) { return REVERSE ? -step : step; }

DEVICE void enter(const Arguments& p, Walk& w, int place) {
#pragma unroll
  for (int i = 0; i < PAST; ++i) {
    w.past[i] = exists(p, w.s) ? input_at(p, w.s, w.batch_row, place - PAST + i, w.channel) : nothing();
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) w.open[i][v] = 0.f;
  }
}

// Store the slope of a place, if it is this thread's.
DEVICE void close(const Arguments& p, const Walk& w, int place, const float* open) {
  if (place < w.first || place >= w.last || place < w.s.begin) return;
  float dx[VECTOR];
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) dx[v] = open[v];
  if (exists(p, w.s)) add_final(p, w.s, place, w.channel, dx);
  store(w.dx + place * stride(p.width), dx);
}

// The next sequence begins at this place: nothing more reaches the places before it.
DEVICE void change(const Arguments& p, Walk& w, int place) {
#pragma unroll
  for (int k = 0; k < PAST; ++k) close(p, w, place - 1 - k, w.open[k]);
  w.s = span_after(p, w.s);
  enter(p, w, place);
}

// One place: x and dy there. `inner`: it is the thread's own, and so is the one that it completes, in the same sequence.
template <bool inner>
DEVICE void walk_on(const Arguments& p, const Filter& f, Slopes& sums, Walk& w, int place, Pack x, Pack dy) {
  if (!inner) {
    if (PACKED && place >= w.s.end && w.s.end < p.tokens) change(p, w, place);
    if (place >= w.s.end || !exists(p, w.s)) x = dy = nothing();
  }
  Pack line[TAPS];
  float g[VECTOR];
#pragma unroll
  for (int i = 0; i < PAST; ++i) line[i] = w.past[i];
  line[PAST] = x;
  slope_before(f, line, dy, g);
#pragma unroll
  for (int v = 0; v < VECTOR; ++v) {
#pragma unroll
    for (int k = PAST; k > 0; --k) w.open[k][v] = w.open[k - 1][v] + f.tap[PAST - k][v] * g[v];
    w.open[0][v] = f.tap[PAST][v] * g[v];
    if (!inner && place >= w.last) g[v] = 0.f;
    sums.bias[v] += g[v];
#pragma unroll
    for (int k = 0; k < TAPS; ++k) sums.tap[k][v] += g[v] * wide(line[k].v[v]);
  }
  if (inner) store(w.dx + (place - PAST) * stride(p.width), w.open[PAST]);
  else close(p, w, place - PAST, w.open[PAST]);
#pragma unroll
  for (int i = 0; i < PAST; ++i) w.past[i] = line[i + 1];
}

// RUN places from `place`, before `stop`.
DEVICE void fetch(const Arguments& p, const Walk& w, int place, int stop, Pack* x, Pack* dy) {
  const INPUT* from = w.x + place * stride(p.x_row);
  const INPUT* slope = w.dy + place * stride(p.dy_row);
  if (place + RUN <= stop) {
#pragma unroll
    for (int i = 0; i < RUN; ++i) x[i] = load(from + i * stride(p.x_row)), dy[i] = load(slope + i * stride(p.dy_row));
  } else {
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      x[i] = dy[i] = nothing();
      if (place + i < stop) x[i] = load(from + i * stride(p.x_row)), dy[i] = load(slope + i * stride(p.dy_row));
    }
  }
}

DEVICE void walk_segment(const Arguments& p, const Filter& f, Slopes& sums, int run, int channel) {
  Walk w;
  w.batch_row = run / p.runs_of_row, w.channel = channel;
  w.first = (run - w.batch_row * p.runs_of_row) * p.tiles;
  w.last = w.first + p.tiles < p.tokens ? w.first + p.tiles : p.tokens;
  w.x = p.x + offset(p, w.batch_row, 0, p.x_batch, p.x_row) + channel;
  w.dy = p.dy + offset(p, w.batch_row, 0, p.dy_batch, p.dy_row) + channel;
  w.dx = p.y + offset(p, w.batch_row, 0, (i64)p.tokens * p.width, p.width) + channel;
  w.s = span_at(p, w.first, w.batch_row);
  enter(p, w, w.first);
  int stop = w.last + PAST < p.tokens ? w.last + PAST : p.tokens;
  Pack x[RUN], dy[RUN], next_x[RUN], next_dy[RUN];
  fetch(p, w, w.first, stop, next_x, next_dy);
#pragma unroll 1
  for (int place = w.first; place < w.last + PAST; place += RUN) {
#pragma unroll
    for (int i = 0; i < RUN; ++i) x[i] = next_x[i], dy[i] = next_dy[i];
    fetch(p, w, place + RUN, stop, next_x, next_dy);
    bool inner = exists(p, w.s) && place - PAST >= w.first && place - PAST >= w.s.begin && place + RUN <= w.last &&
                 place + RUN <= w.s.end;
    if (inner) {
#pragma unroll
      for (int i = 0; i < RUN; ++i) walk_on<true>(p, f, sums, w, place + i, x[i], dy[i]);
    } else {
#pragma unroll
      for (int i = 0; i < RUN; ++i) walk_on<false>(p, f, sums, w, place + i, x[i], dy[i]);
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
  i64 run = (i64)share * SLOTS + threadIdx.x / LANES;
  Slopes sums = {};
  if (channel < p.width && run < p.runs) walk_segment(p, filter_of(p, channel), sums, (int)run, channel);
  float* to = p.partial + (i64)share * (TAPS + 1) * p.width;
#pragma unroll
  for (int k = 0; k < TAPS; ++k) sum_slots(p, (float*)memory, sums.tap[k], to + (i64)k * p.width, channel < p.width);
  if (BIAS) sum_slots(p, (float*)memory, sums.bias, to + (i64)TAPS * p.width, channel < p.width);
}
