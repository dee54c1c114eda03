// The small kernels between the sweeps.

// Walking over the time chunks: turns the states at their ends, from zero, into the states before them. One thread a
// state. BACKWARD: the same for what flows back, from the last chunk to the first.
KERNEL BOUNDS(THREADS, 1) scan_join(PARAMETER Arguments p) {
  const i64 wide = p.width * STATES, e = (i64)blockIdx.x * THREADS + threadIdx.x, row = blockIdx.y;
  if (e >= wide) return;
  const float a = (BOTH && row >= p.rows ? p.A_back : p.A)[e] * LOG2E;
  const float* start = BOTH ? nullptr : BACKWARD ? p.dfinal : p.initial;
  float h = !PACKED && start ? start[row * wide + e] : 0.f;
  for (i64 k0 = 0; k0 < p.chunks; k0 += 8) {
    float v[8], s[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const i64 k = min(k0 + j, p.chunks - 1), at = row * p.chunks + (BACKWARD ? p.chunks - 1 - k : k);
      v[j] = p.carry[at * wide + e];
      s[j] = p.spans[at * p.width + e / STATES];
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      if (k0 + j >= p.chunks) break;
      const i64 k = k0 + j, at = row * p.chunks + (BACKWARD ? p.chunks - 1 - k : k);
      p.carry[at * wide + e] = h;
      h = s[j] < 0.f ? v[j] : fmaf(fast_exp2(a * s[j]), h, v[j]);
    }
  }
}

// Says of every token of a packed batch, in walking order, whether a sequence begins or ends there.
KERNEL BOUNDS(THREADS, 1) scan_marks(PARAMETER Arguments p) {
  const i64 k = (i64)blockIdx.x * THREADS + threadIdx.x;
  if (k >= (p.tokens + 15) / 16 * 16) return;
#pragma unroll
  for (int way = 0; way <= (BOTH > 0); way++) {
    const bool back = BOTH ? way : REVERSE;
    unsigned char mark = 0;
    if (k < p.tokens) {
      const i64 at = token(p, back, k), r = sequence(p, at);
      if (r < p.sequences) {
        if (p.borders[r] == at) mark |= back ? LEAVE : ENTER;
        if (p.borders[r + 1] - 1 == at) mark |= back ? ENTER : LEAVE;
      }
    }
    p.marks[way * marks_of_way(p) + k] = mark;
  }
}
