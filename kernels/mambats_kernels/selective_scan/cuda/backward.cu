// The scan backward: one block for 32 channels, tiles of 16 tokens from the last to the first, states recomputed.
//
// 4 lanes a channel, 4 states a lane, PASSES = PADDED / 16 passes over the states of a tile. Lane = channel (2 bits),
// states (2 bits), channel (1 bit): the channels that an mma sums lie in lane % 4. dB and dC are sums over channels: within
// a warp by the tensor cores (EXACT: by shuffles), over the warps in shared memory, over the blocks by scan_finish.
// All in a fixed order: no atomics.
// CHUNKED: 0 whole rows; 1 time chunks side by side, what flows into them is in `carry`; 2 one chunk a launch, the last one
// first, each leaves its carry to the next: then dB and dC need room for one chunk only.
// If SPARSE (one pass only), the third of four tiles is walked forward once more to find the first states of the fourth.

// Where a packed sequence begins, the state before its first token.
DEVICE void begin(const Arguments& p, const Place& w, i64 k, int d, int from, bool there, float* h) {
#pragma unroll
  for (int s = 0; s < 4; s++) h[s] = 0.f;
  if (STARTED && there) get_states<4>(p.initial + (sequence(p, token(p, w.back, k)) * p.width + d) * STATES, from, h);
}

// Walk one tile forward for nothing but its last state.
DEVICE void again(const Arguments& p, const Place& w, const Store& r, int tile, int stage, int c, int from, int d, bool there, bool marked, const float* a, float* h) {
  const i64 k = w.lo + tile * TILE;
#pragma unroll
  for (int t = 0; t < TILE; t++) {
    const float2 step = *(const float2*)(r.steps + t * STEP + c);
    if (marked && (r.marks[stage * TILE + t] & ENTER)) begin(p, w, k + t, d, from, there, h);
    const float4 b = *(const float4*)((EXACT ? (const float*)(r.B + stage * TILE * PADDED) : r.b) + t * PADDED + from);
    const float w4[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int s = 0; s < 4; s++) {
      const float power = step.x * a[s], decay = fast_exp2(power);
      h[s] = fmaf(decay, h[s], (HOLD ? step.x * held(power * LN2, decay) * step.y : step.y) * w4[s]);
    }
  }
}

#if ROWS
DEVICE void blank_gradients(const Arguments& p, const Place& w) {
  blank(p, w, p.dx, w.from_channel, w.count);
  blank(p, w, p.ddt, w.from_channel, w.count);
  if (GATED) blank(p, w, p.dz, w.from_channel, w.count);
  if (MERGED) {
    blank(p, w, p.dB, 0, STATES);
    blank(p, w, p.dC, 0, STATES);
  }
}

// Of an empty piece: nothing to add to the sums; what flows into an empty sequence flows out.
DEVICE void pass_gradients(const Arguments& p, const Place& w, int d, int share) {
  float* sums = p.sums + w.seat * width_of_sums(p);
  const float zeros[4] = {0.f, 0.f, 0.f, 0.f};
  for (int pass = 0; pass < PASSES; pass++) {
    const int from = pass * 16 + share * 4;
    put_states<4>(sums + (i64)d * STATES, from, zeros);
    if (STARTED && w.row >= 0) pass_on<4>(p.dinitial, p.dfinal, (w.row * p.width + d) * STATES, from);
  }
  if (share == 0) sums[p.width * STATES + d] = sums[p.width * (STATES + 1) + d] = 0.f;
}
#endif

KERNEL BOUNDS(THREADS, BLOCKS) scan_backward(PARAMETER Arguments p) {
  SHARED(memory);
  const Store r = store(memory);
#pragma unroll 1
  for (int way = 0; way < WAYS; way++) {
    if (way) __syncthreads();  // of the way before, all is read from shared memory and written to global memory
    const Place w = place(p, way);
    const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5, share = lane >> 2 & 3;
    const int c = warp * 8 + (lane >> 4) * 4 + (lane & 3), d = w.first + c;
    const bool there = c < w.count;
    const int tiles = (w.length + TILE - 1) / TILE;
#if ROWS
    blank_gradients(p, w);
    if (!tiles) {
      if (there) pass_gradients(p, w, d, share);
      return;
    }
#endif
    find_rows(p, w, r.from);
    if (!MERGED && tid == 32) {  // the room begins at the first token, in walking order, of the launch
      const i64 step = 2 * PADDED, room = min(p.tokens, p.room);
      const int size = EXACT ? 4 : 2;
      const i64 seat = ROWS ? 0 : w.seat, before = ROWS ? (w.back ? p.tokens - w.begin - w.tokens : w.begin) : -p.offset * p.chunk;
      char* at = (char*)p.partial + ((seat * p.groups * BLOCKS_OF_GROUP + w.block) * room + (w.lo + before)) * step * size;
      r.sums[0] = Rows{at, (int)step * size};
      r.sums[1] = Rows{at + PADDED * size, (int)step * size};
    }
    __syncthreads();
    const Rows* sums_at = MERGED ? r.from + DC : r.sums;
    // Place of the channel's first saved states in this chunk.
    const i64 kept = (saved_from(p, w) + saved_tiles(w.lo / 16)) * p.width + d;

    // A tile's first states come with its first turn; those of the fourth of four are left by the third.
    auto home = [&](int tile) { return r.first + (tile % PLACES) * THREADS + tid; };
    auto fetch = [&](Turn turn) {
      if (PASSES > 1 || !there || !is_saved(turn.tile)) return;
      if (SPARSE && !turn.again && turn.tile % 4 == 2 && turn.tile + 1 < tiles) return;
      const i64 at = ((kept + saved_tiles(turn.tile) * p.width) * PADDED + share * 4) / 4;
      if (EXACT) copy16(home(turn.tile), (const float4*)p.saved + at, true);
      else copy8(home(turn.tile), (const Packed*)p.saved + at, true);
    };
    auto enter = [&](int tile, float* h) {
      const float4 v = *home(tile);
      if (EXACT || !is_saved(tile)) { h[0] = v.x; h[1] = v.y; h[2] = v.z; h[3] = v.w; }
      else unpack(Packed{__float_as_uint(v.x), __float_as_uint(v.y)}, h);
    };
    // With more passes they are read when needed, one pass ahead.
    auto read = [&](int tile, int pass) {
      const i64 at = ((kept + saved_tiles(tile) * p.width) * PADDED + pass * 16 + share * 4) / 4;
      if (!there || pass >= PASSES) return make_float4(0.f, 0.f, 0.f, 0.f);
      if (EXACT) return ((const float4*)p.saved)[at];
      const Packed v = ((const Packed*)p.saved)[at];
      return make_float4(__uint_as_float(v.low), __uint_as_float(v.high), 0.f, 0.f);
    };
    auto rates = [&](int pass, float* to) {  // from memory: three blocks a processor need the room that they would take
      to[0] = to[1] = to[2] = to[3] = 0.f;
      if (there) get_states<4>(rates_of(p, w) + (i64)d * STATES, pass * 16 + share * 4, to);
    };
    if (PASSES == 1 && !there) for (int k = 0; k < PLACES; k++) r.first[k * THREADS + tid] = make_float4(0.f, 0.f, 0.f, 0.f);
    Turn turn = backward(tiles - 1);
    load(p, w, r, turn, 0);
    fetch(turn);
    commit_copies();
    // Launches that follow each other take over the carry and add to the sums.
    const bool follows = CHUNKED == 2 && w.part + 1 < p.chunks;
    const i64 slot = CHUNKED == 2 || ROWS ? w.seat : w.seat * p.chunks + w.part;
    float a[4], carry[4], dA[4];
#pragma unroll 1
    for (int pass = 0; pass < PASSES; pass++) {
      const int from = pass * 16 + share * 4;
#pragma unroll
      for (int s = 0; s < 4; s++) a[s] = carry[s] = dA[s] = 0.f;
      if (there) {
        get_states<4>(rates_of(p, w) + (i64)d * STATES, from, a);
        if ((CHUNKED == 1 && !ROWS) || follows) get_states<4>(p.carry + (slot * p.width + d) * STATES, from, carry);
        else if (!PACKED && !BOTH && p.dfinal) get_states<4>(p.dfinal + (w.row * p.width + d) * STATES, from, carry);
      }
#pragma unroll
      for (int s = 0; s < 4; s++) a[s] *= LOG2E;
      if (ROWS && CHUNKED && there && w.lo + w.length < w.tokens) {
        const int last = (int)((w.tokens - 1) / p.fine), next = (int)((w.lo + p.chunk) / p.fine);
        pass_parts<4>(p, w.begin / p.fine - 1 + last, -1, last - next + 1, d, from, a, carry);
      }
      if (PASSES > 1) {
        r.kept[(2 * pass) * THREADS + tid] = make_float4(carry[0], carry[1], carry[2], carry[3]);
        r.kept[(2 * pass + 1) * THREADS + tid] = make_float4(0.f, 0.f, 0.f, 0.f);
      }
    }
    const int pairs = tid % (CHANNELS / 2) * 2;
    const float bias0 = BIASED && pairs < w.count ? p.bias[w.first + pairs] : 0.f;
    const float bias1 = BIASED && pairs + 1 < w.count ? p.bias[w.first + pairs + 1] : 0.f;
    const float bias = BIASED && there ? p.bias[d] : 0.f, skip = SKIP && there ? p.D[d] : 0.f;
    float dD = 0.f, dbias = 0.f, one[8], next_rates[4];
    if (PASSES > 1) rates(0, next_rates);
#pragma unroll
    for (int k = 0; k < 8; k++) one[k] = (lane >> 2) == k ? 1.f : 0.f;

    for (int stage = 0; turn.tile >= 0; stage ^= 1) {
      const Turn next = following(turn);
      const i64 k0 = w.lo + (i64)turn.tile * TILE;
      const int raw = stage * TILE * ROW;
      wait_copies<0>();
      __syncthreads();
      if (next.tile >= 0) { load(p, w, r, next, stage ^ 1); fetch(next); }
      commit_copies();
      float4 ahead;
      if (PASSES > 1) ahead = read(turn.tile, 0);
      convert(w, r, turn, stage, bias0, bias1);
      __syncthreads();
      bool any = false;
      if (PACKED) { const uint4 m = *(const uint4*)(r.marks + stage * TILE); any = m.x | m.y | m.z | m.w; }
      if (SPARSE && turn.again) {
        float h[4];
        enter(turn.tile, h);
        if (PACKED && any) again(p, w, r, turn.tile, stage, c, share * 4, d, there, true, a, h);
        else again(p, w, r, turn.tile, stage, c, share * 4, d, there, false, a, h);
        *home(turn.tile + 1) = make_float4(h[0], h[1], h[2], h[3]);
        turn = next;
        continue;
      }
      float ys[TILE / 4], ss[TILE / 4], ws[TILE / 4];
#pragma unroll
      for (int k = 0; k < TILE / 4; k++) ys[k] = ss[k] = ws[k] = 0.f;
#pragma unroll 1
      for (int pass = 0; pass < PASSES; pass++) {
        const int from = pass * 16 + share * 4;
        float h[TILE + 1][4];
        if (PASSES == 1) enter(turn.tile, h[0]);
        else {
          if (EXACT) { h[0][0] = ahead.x; h[0][1] = ahead.y; h[0][2] = ahead.z; h[0][3] = ahead.w; }
          else unpack(Packed{__float_as_uint(ahead.x), __float_as_uint(ahead.y)}, h[0]);
          ahead = read(turn.tile, pass + 1);
        }
        if (PASSES > 1) {
          float4 v = r.kept[(2 * pass) * THREADS + tid];
          carry[0] = v.x; carry[1] = v.y; carry[2] = v.z; carry[3] = v.w;
          v = r.kept[(2 * pass + 1) * THREADS + tid];
          dA[0] = v.x; dA[1] = v.y; dA[2] = v.z; dA[3] = v.w;
#pragma unroll
          for (int s = 0; s < 4; s++) a[s] = next_rates[s] * LOG2E;
          rates(pass + 1 < PASSES ? pass + 1 : 0, next_rates);
        }
        const float* qb = (EXACT ? (const float*)(r.B + stage * TILE * PADDED) : r.b) + from;
        const float* qc = (EXACT ? (const float*)(r.C + stage * TILE * PADDED) : r.c) + from;
        auto walk = [&](const bool marked) {  // inlined twice: where no packed sequence begins or ends, nothing asks for one
#pragma unroll
          for (int t4 = 0; t4 < TILE; t4 += 4) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
              const int t = t4 + j;
              const float2 step = *(const float2*)(r.steps + t * STEP + c);
              const float4 b = *(const float4*)(qb + t * PADDED);
              const float w4[4] = {b.x, b.y, b.z, b.w};
              float before[4] = {h[t][0], h[t][1], h[t][2], h[t][3]};
              if (marked && (r.marks[stage * TILE + t] & ENTER)) begin(p, w, k0 + t, d, from, there, before);
#pragma unroll
              for (int s = 0; s < 4; s++) {
                const float power = step.x * a[s], decay = fast_exp2(power);
                h[t + 1][s] = fmaf(decay, before[s], (HOLD ? step.x * held(power * LN2, decay) * step.y : step.y) * w4[s]);
              }
            }
          }
          float sum[4];
#pragma unroll
          for (int t4 = TILE - 4; t4 >= 0; t4 -= 4) {
            float y4[4], s4[4], p4[4];
#pragma unroll
            for (int j = 3; j >= 0; j--) {
              const int t = t4 + j;
              const float4 step = r.steps[t * STEP + c];
              const float4 b = *(const float4*)(qb + t * PADDED), weight = *(const float4*)(qc + t * PADDED);
              const float w4[4] = {b.x, b.y, b.z, b.w}, c4[4] = {weight.x, weight.y, weight.z, weight.w};
              const int mark = marked ? r.marks[stage * TILE + t] : 0;
              float before[4] = {h[t][0], h[t][1], h[t][2], h[t][3]}, v[8];
              if (marked && (mark & ENTER)) begin(p, w, k0 + t, d, from, there, before);
              if (marked && (mark & LEAVE)) {
                carry[0] = carry[1] = carry[2] = carry[3] = 0.f;
                if (!BOTH && p.dfinal && there) get_states<4>(p.dfinal + (sequence(p, token(p, w.back, k0 + t)) * p.width + d) * STATES, from, carry);
              }
              y4[j] = s4[j] = p4[j] = 0.f;
#pragma unroll
              for (int s = 0; s < 4; s++) {
                const float power = step.x * a[s], decay = fast_exp2(power), dh = fmaf(c4[s], step.z, carry[s]);
                carry[s] = decay * dh;
                const float flow = carry[s] * before[s];
                v[s] = step.z * h[t + 1][s];
                if (GATED) y4[j] = fmaf(h[t + 1][s], c4[s], y4[j]);  // here, where C is at hand: shared memory is the narrowest road
                if (HOLD) {
                  const float z = power * LN2, weigh = held(z, decay), input = dh * w4[s] * step.y;
                  s4[j] = fmaf(dh * w4[s], step.x * weigh, s4[j]);
                  p4[j] = fmaf(a[s], flow, fmaf(input * decay, LOG2E, p4[j]));
                  dA[s] = fmaf(step.x, flow, fmaf(input * step.x, step.x * held_slope(z, decay), dA[s]));
                  v[4 + s] = step.x * weigh * step.y * dh;
                } else {
                  s4[j] = fmaf(dh, w4[s], s4[j]);
                  p4[j] = fmaf(a[s], flow, p4[j]);
                  dA[s] = fmaf(step.x, flow, dA[s]);
                  v[4 + s] = step.y * dh;
                }
              }
              if (marked && (mark & ENTER)) {
                if (STARTED && there) put_states<4>(p.dinitial + (sequence(p, token(p, w.back, k0 + t)) * p.width + d) * STATES, from, carry);
                carry[0] = carry[1] = carry[2] = carry[3] = 0.f;
              }
              sum_channels(r.part, sum, v, one, t, lane, warp);
            }
            if (GATED) ys[t4 / 4] += sum_quad(y4, share);
            ss[t4 / 4] += sum_quad(s4, share);
            ws[t4 / 4] += sum_quad(p4, share);
          }
        };
        if (PACKED && any) walk(true); else walk(false);
        if (PASSES > 1) {
          r.kept[(2 * pass) * THREADS + tid] = make_float4(carry[0], carry[1], carry[2], carry[3]);
          r.kept[(2 * pass + 1) * THREADS + tid] = make_float4(dA[0], dA[1], dA[2], dA[3]);
          __syncthreads();
          post(w, r, sums_at, turn.tile, pass);
          __syncthreads();
        }
      }
      // Each lane finishes the step that it received, and puts the gradients in place of the inputs.
      float slope[TILE / 4];
#pragma unroll
      for (int k = 0; k < TILE / 4; k++) {
        const int t = k * 4 + share, at = raw + t * ROW + c;
        const float4 step = r.steps[t * STEP + c];
        // Outside the sequence the state stands still, so that what flows through it is no gradient.
        const bool here = live(w, turn.tile * TILE + t);
        const float raised = wide(r.dt[at]) + bias, dy = wide(r.dy[at]), dspan = here ? ws[k] * LN2 : 0.f;
        const float delta = GAPS || HOLD ? step_size(raised) : step.x;
        const float gap = gap_of(w, r.gaps + stage * TILE, r.marks + stage * TILE, turn.tile * TILE, t);
        slope[k] = dspan * delta;
        float ddelta = HOLD ? dspan * gap : fmaf(ss[k], step.w, GAPS ? dspan * gap : dspan);
        if (SOFTPLUS) ddelta *= raised > 20.f ? 1.f : sigmoid(raised);
        dbias += ddelta;
        if (SKIP) dD = fmaf(step.z, step.w, dD);
        narrow(r.x[at], fmaf(skip, step.z, HOLD ? ss[k] : ss[k] * (GAPS ? delta : step.x)));
        narrow(r.dt[at], ddelta);
        if (GATED) {
          const float z = wide(r.z[at]), gate = sigmoid(z), y = fmaf(skip, step.w, ys[k]);
          narrow(r.z[at], dy * y * gate * fmaf(z, 1.f - gate, 1.f));
        }
      }
      if (SLOPED) {  // the gradient of the gaps: sums over channels
#pragma unroll
        for (int k = 0; k < TILE / 4; k++) {
          float v = there ? slope[k] : 0.f;
          v += exchange(v, 1); v += exchange(v, 2); v += exchange(v, 16);
          if ((lane & 19) == 0) r.slope[warp * TILE + k * 4 + share] = v;
        }
      }
      __syncthreads();
      if (PASSES == 1) post(w, r, sums_at, turn.tile, 0);
      if (SLOPED && tid < TILE && turn.tile * TILE + tid < w.length) {
        const i64 k = k0 + tid, at = place_of(p, w, k) + w.back;
        const float v = (r.slope[tid] + r.slope[TILE + tid]) + (r.slope[2 * TILE + tid] + r.slope[3 * TILE + tid]);
        const bool free = w.back && (k == 0 || (PACKED && (r.marks[stage * TILE + tid] & ENTER)));
        const i64 blocks = p.groups * BLOCKS_OF_GROUP;
        if (!free) p.dgaps[((ROWS ? 0 : w.seat) * blocks + w.block) * p.tokens + at] = v;
      }
      store_channels<GATED ? 3 : 2>(w, r.from + DX, r.x + raw, 2 * TILE * ROW, turn.tile * TILE);
      turn = next;
    }
    float* sums = p.sums + slot * width_of_sums(p);
#pragma unroll 1
    for (int pass = 0; pass < PASSES && there; pass++) {
      const int from = pass * 16 + share * 4;
      if (PASSES > 1) {
        float4 v = r.kept[(2 * pass) * THREADS + tid];
        carry[0] = v.x; carry[1] = v.y; carry[2] = v.z; carry[3] = v.w;
        v = r.kept[(2 * pass + 1) * THREADS + tid];
        dA[0] = v.x; dA[1] = v.y; dA[2] = v.z; dA[3] = v.w;
      }
      if (follows) {
        float before[4];
        get_states<4>(sums + (i64)d * STATES, from, before);
#pragma unroll
        for (int s = 0; s < 4; s++) dA[s] += before[s];
      }
      put_states<4>(sums + (i64)d * STATES, from, dA);
      if (CHUNKED == 2 && w.part > 0) put_states<4>(p.carry + (slot * p.width + d) * STATES, from, carry);
      if (STARTED && !PACKED && w.part == 0) put_states<4>(p.dinitial + (w.row * p.width + d) * STATES, from, carry);
    }
    dD += exchange(dD, 4); dD += exchange(dD, 8);
    dbias += exchange(dbias, 4); dbias += exchange(dbias, 8);
    if (share == 0 && there) {
      float* at = sums + p.width * STATES + d;
      at[0] = follows ? at[0] + dD : dD;
      at[p.width] = follows ? at[p.width] + dbias : dbias;
    }
  }
}
