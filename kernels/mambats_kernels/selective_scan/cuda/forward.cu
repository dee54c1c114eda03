// The scan forward. PHASE 0: the whole row in one sweep; 1: only the states at the ends of time chunks, from zero;
// 2: a sweep from the chunk's true first state. SAVE: keep states for the backward pass.
//
// A ring of 4 tiles: tile i+2 is copied in, tile i+1 turned into floats, tile i scanned, tile i-1 stored: one barrier a tile.
#define SHARE (PADDED / 4)

struct Ring {
  Rows* from;
  TYPE *x, *dt, *z, *B, *C;
  float2* steps;  // span and weighted input of two tiles
  float *b, *c, *gaps;
  unsigned char* marks;
};

DEVICE Ring ring(char* memory) {
  Ring r;
  r.from = (Rows*)memory;
  r.x = (TYPE*)(r.from + LINES);
  r.dt = r.x + 4 * TILE * ROW;
  r.z = r.dt + 4 * TILE * ROW;
  r.B = r.z + (PHASE == 1 ? 0 : 4) * TILE * ROW;
  r.C = r.B + 2 * TILE * PADDED;
  r.steps = (float2*)(r.C + (PHASE == 1 ? 0 : 2) * TILE * PADDED);
  r.b = (float*)(r.steps + 2 * TILE * CHANNELS);
  r.c = r.b + 2 * TILE * PADDED;
  r.gaps = r.c + (PHASE == 1 ? 0 : 2) * TILE * PADDED;
  r.marks = (unsigned char*)(r.gaps + 4 * TILE);
  return r;
}

DEVICE void load(const Arguments& p, const Place& w, const Ring& r, int i, int tiles) {
  if (i < tiles) {
    const int k = i * TILE, four = (i & 3) * TILE * ROW, two = (i & 1) * TILE * PADDED;
    load_channels<2>(w, r.x + four, 4 * TILE * ROW, r.from + X, k);
    if (GATED && PHASE != 1) load_channels<1>(w, r.z + four, 0, r.from + Z, k);
    load_states<PHASE == 1 ? 1 : 2>(w, r.B + two, 2 * TILE * PADDED, r.from + STATE, k);
    load_times(p, w, r.gaps + (i & 3) * TILE, r.marks + (i & 3) * TILE, k);
  }
  commit_copies();
}

DEVICE void convert(const Place& w, const Ring& r, int i, float bias0, float bias1) {
  const TYPE* x = r.x + (i & 3) * TILE * ROW;
  const TYPE* dt = r.dt + (i & 3) * TILE * ROW;
  float4* steps = (float4*)(r.steps + (i & 1) * TILE * CHANNELS);
#pragma unroll
  for (int round = 0; round < TILE * CHANNELS / 2 / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, t = e / (CHANNELS / 2), c = e % (CHANNELS / 2) * 2;
    float x0, x1, d0, d1;
    pair(x + t * ROW + c, x0, x1);
    pair(dt + t * ROW + c, d0, d1);
    d0 = step_size(d0 + bias0);
    d1 = step_size(d1 + bias1);
    const float gap = gap_of(w, r.gaps + (i & 3) * TILE, r.marks + (i & 3) * TILE, i * TILE, t);
    steps[e] = HOLD ? make_float4(d0 * gap, x0, d1 * gap, x1) : make_float4(d0 * gap, d0 * x0, d1 * gap, d1 * x1);
  }
  widen_states(r.b + (i & 1) * TILE * PADDED, r.B + (i & 1) * TILE * PADDED);
  if (PHASE != 1) widen_states(r.c + (i & 1) * TILE * PADDED, r.C + (i & 1) * TILE * PADDED);
}

// h = e^(span A) h + weight input B for the states of a lane; a is A log2(e).
DEVICE void advance(float* h, const float* a, float2 d, const float* b) {
#pragma unroll
  for (int s = 0; s < SHARE; s += 4) {
    const float4 v = *(const float4*)(b + s);
    const float w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float power = d.x * a[s + j], decay = fast_exp2(power);
      const float input = HOLD ? d.x * held(power * LN2, decay) * d.y : d.y;
      h[s + j] = fmaf(decay, h[s + j], input * w[j]);
    }
  }
}

// The states of a lane for the backward pass; `place`: of the channel.
DEVICE void keep(float* saved, i64 place, int from, const float* h) {
#pragma unroll
  for (int s = 0; s < SHARE; s += 4) {
    if (EXACT) *(float4*)(saved + place * PADDED + from + s) = make_float4(h[s], h[s + 1], h[s + 2], h[s + 3]);
    else ((Packed*)saved)[(place * PADDED + from + s) / 4] = pack(h + s);
  }
}

// Sums of four steps over the four lanes of a channel; lane q receives that of step q.
DEVICE float sum_quad(const float* y, int lane) {
  const bool high = lane & 2, odd = lane & 1;
  const float a = (high ? y[2] : y[0]) + exchange(high ? y[0] : y[2], 2);
  const float b = (high ? y[3] : y[1]) + exchange(high ? y[1] : y[3], 2);
  return (odd ? b : a) + exchange(odd ? a : b, 1);
}

KERNEL BOUNDS(THREADS, BLOCKS) scan_forward(PARAMETER Arguments p) {
  SHARED(memory);
  const Ring r = ring(memory);
#if ORDERED && PHASE == 1
  const i64 sweeps = p.fines * p.groups * BLOCKS_OF_GROUP;
  if (blockIdx.x >= sweeps) {
    order_pieces(p, (blockIdx.x - sweeps) * (THREADS / 32) + threadIdx.x / 32);
    return;
  }
#endif
#pragma unroll 1
  for (int way = 0; way < WAYS; way++) {
    if (way) __syncthreads();  // of the way before, all is read from shared memory and written to global memory
    const Place w = place(p, way, PHASE == 1);
    const int lane = threadIdx.x % 4, c = threadIdx.x / 4, d = w.first + c, from = lane * SHARE;
    const bool there = c < w.count;
    const int tiles = (w.length + TILE - 1) / TILE;
#if ROWS
    if (PHASE != 1) blank(p, w, p.y, w.from_channel, w.count);
    if (!tiles) {
      if (PHASE != 1 && w.row >= 0 && there) pass_on<SHARE>(p.final, STARTED ? p.initial : nullptr, (w.row * p.width + d) * STATES, from);
      return;
    }
#endif
    find_rows(p, w, r.from);
    __syncthreads();
    load(p, w, r, 0, tiles);
    load(p, w, r, 1, tiles);
    float a[SHARE], h[SHARE];
#pragma unroll
    for (int s = 0; s < SHARE; s++) a[s] = h[s] = 0.f;
    if (there) {
      get_states<SHARE>(rates_of(p, w) + (i64)d * STATES, from, a);
      if (PHASE == 2 && !ROWS) get_states<SHARE>(p.carry + ((w.seat * p.chunks + w.part) * p.width + d) * STATES, from, h);
      if ((PHASE == 0 || (ROWS && PHASE == 2)) && STARTED && !PACKED) get_states<SHARE>(p.initial + (w.row * p.width + d) * STATES, from, h);
    }
#pragma unroll
    for (int s = 0; s < SHARE; s++) a[s] *= LOG2E;
    if (ROWS && PHASE == 2 && there && w.part)
      pass_parts<SHARE>(p, w.begin / p.fine, 1, (int)(w.lo / p.fine), d, from, a, h);
    const int pairs = threadIdx.x % (CHANNELS / 2) * 2;
    const float bias0 = BIASED && pairs < w.count ? p.bias[w.first + pairs] : 0.f;
    const float bias1 = BIASED && pairs + 1 < w.count ? p.bias[w.first + pairs + 1] : 0.f;
    const float skip = SKIP && there ? p.D[d] : 0.f;
    const i64 kept = saved_from(p, w);
    float span = 0.f;
    wait_copies<1>();
    __syncthreads();
    convert(w, r, 0, bias0, bias1);
    for (int i = 0; i < tiles; i++) {
      const int k = i * TILE;
      wait_copies<0>();
      __syncthreads();  // tile i+1 has landed, tile i is converted, the results of tile i-1 are in the ring
      load(p, w, r, i + 2, tiles);
      if (PHASE != 1 && i > 0) store_channels<1>(w, r.from + Y, r.z + ((i - 1) & 3) * TILE * ROW, 0, k - TILE);
      if (i + 1 < tiles) convert(w, r, i + 1, bias0, bias1);
      const float2* steps = r.steps + (i & 1) * TILE * CHANNELS + c;
      const float* b = r.b + (i & 1) * TILE * PADDED + from;
      const float* weights = r.c + (i & 1) * TILE * PADDED + from;
      const unsigned char* marks = r.marks + (i & 3) * TILE;
      const int end = ROWS && TILE == 16 ? min(TILE, w.length - k) : TILE;  // short rows: many tiles are not full
#pragma unroll UNROLL
      for (int t0 = 0; t0 < end; t0 += 4) {
        if (SAVE && there && t0 % 16 == 0 && k + t0 < w.length && is_saved((w.lo + k + t0) / 16))
          keep(p.saved, (kept + saved_tiles((w.lo + k + t0) / 16)) * p.width + d, from, h);
        const u32 word = PACKED ? *(const u32*)(marks + t0) : 0u;
        float y[4];
        auto four = [&](const bool marked) {  // inlined twice: where no packed sequence begins or ends, nothing asks for one
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const float2 step = steps[(t0 + j) * CHANNELS];
            const u32 mark = word >> (8 * j) & 255;
            if (marked && (mark & ENTER)) {
              if (PHASE == 1) span = -1e30f;
#pragma unroll
              for (int s = 0; s < SHARE; s++) h[s] = 0.f;
              if (STARTED && there)
                get_states<SHARE>(p.initial + (sequence(p, token(p, w.back, w.lo + k + t0 + j)) * p.width + d) * STATES, from, h);
            }
            advance(h, a, step, b + (t0 + j) * PADDED);
            if (PHASE == 1) span += step.x;
            if (PHASE != 1) {
              y[j] = 0.f;
#pragma unroll
              for (int s = 0; s < SHARE; s += 4) {
                const float4 v = *(const float4*)(weights + (t0 + j) * PADDED + s);
                y[j] = fmaf(h[s], v.x, y[j]);
                y[j] = fmaf(h[s + 1], v.y, y[j]);
                y[j] = fmaf(h[s + 2], v.z, y[j]);
                y[j] = fmaf(h[s + 3], v.w, y[j]);
              }
              if (marked && !BOTH && (mark & LEAVE) && there)
                put_states<SHARE>(p.final + (sequence(p, token(p, w.back, w.lo + k + t0 + j)) * p.width + d) * STATES, from, h);
            }
          }
        };
        if (PACKED && word) four(true); else four(false);
        if (PHASE != 1) {
          const int at = ((i & 3) * TILE + t0 + lane) * ROW + c;
          float v = sum_quad(y, lane);
          if (SKIP) v = fmaf(skip, wide(r.x[at]), v);
          if (GATED) { const float z = wide(r.z[at]); v *= z * sigmoid(z); }
          narrow(r.z[at], v);
        }
      }
    }
    if (PHASE == 1) {
      if (there) {
        const i64 slot = ROWS ? w.seat : w.seat * p.chunks + w.part;
        put_states<SHARE>(p.carry + (slot * p.width + d) * STATES, from, h);
        if (lane == 0) p.spans[slot * p.width + d] = span < 0.f ? -1.f : span;
      }
      return;
    }
    __syncthreads();
    store_channels<1>(w, r.from + Y, r.z + ((tiles - 1) & 3) * TILE * ROW, 0, (tiles - 1) * TILE);
    if (!PACKED && !BOTH && there && (ROWS ? w.seat >= p.chunks : w.part == p.chunks - 1)) put_states<SHARE>(p.final + (w.row * p.width + d) * STATES, from, h);
  }
}
