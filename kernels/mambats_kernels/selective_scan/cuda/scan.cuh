// What the scan's kernels share. Walking order k = 0..T-1 is time, or time backwards if REVERSE: only loads and stores know.
//
// A block of 128 threads holds 32 channels of one row and one time chunk; 4 lanes share a channel, SHARE states each.
// Defined before this file: TYPE (float, bf16, fp16), STATES (N), PADDED (N rounded up to 16), and as 0 or 1 SPARSE (of
// four states at the starts of 16 tokens three are saved),  GATED (z), SKIP (D), BIASED (dt_bias), SOFTPLUS, GAPS, HOLD, PACKED, REVERSE,
// STARTED (initial states), WIDE (16-byte loads of x, dt, z, dy), WIDE_STATES (of B, C), EXACT (float32 to the last digits).
#ifndef TILE
#define TILE 16  // tokens that are in shared memory together
#endif
#ifndef BOTH
#define BOTH 0  // directions of one launch: 1 every block walks its row forwards, then backwards; 2 half of the blocks
#endif          // walk forwards, the others backwards. Each adds its results to those of the other.
#define WAYS (BOTH == 1 ? 2 : 1)
#ifndef ROWS
#define ROWS 0  // 1: a packed sequence is a row of its own (then PACKED is 0), cut into pieces of `chunk` tokens
#endif
#ifndef ORDERED
#define ORDERED 0  // if ROWS, 1: the last pieces of rows start longest first
#endif
#define CHANNELS 32
#define THREADS 128
#define PIECE (16 / (int)sizeof(TYPE))
#define ROW (CHANNELS + PIECE)  // padded: four rows of a tile lie in different banks
#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define TRUNCATED 1.00035f  // an mma cuts 13 bits off each value: 3.5e-4 is missing on average
#define INFINITE __uint_as_float(0x7f800000u)
#define ENTER 1  // marks of packed tokens, in walking order: a sequence's first token, its last one
#define LEAVE 2

struct Line {  // where a sequence lies: strides in elements
  char* at;
  i64 row, token, group;
};

struct Arguments {
  Line x, dt, z, dy, B, C, y, dx, ddt, dz, dC, dB;  // in the order of the table below
  i64 rows, tokens, width, inner, groups, sequences;  // inner: D / G; sequences: n if PACKED, else rows
  i64 chunk, chunks, offset, room;  // tokens of a time chunk (a multiple of 64), how many; a launch's first chunk and
                                    // the tokens that it works on. If ROWS, chunks: pieces before those that end rows
  i64 fine, fines;  // if ROWS: tokens of the parts (a divisor of `chunk`) by which what flows between pieces is found first;
                    // how many
  const float *A, *D, *bias, *gaps, *initial, *dfinal;
  const i64* borders;          // (n+1,)
  unsigned char* marks;        // (T rounded up to 16,); if ORDERED, int (n,): sequences by the length of their last pieces
  float *final, *saved;        // (n or rows, D, N); (rows, saved_tiles, D, PADDED), packed unless EXACT
  float *carry, *spans;        // (rows, chunks, D, N), (rows, chunks, D): -1 where a sequence begins inside. If ROWS (fines, D, N)
  float *partial, *sums;       // (rows, G, blocks, room, 2, PADDED), packed unless EXACT; (rows, chunks, D (N + 2) + D % 2 * 2)
  float *dA, *dD, *dbias, *dinitial, *dgaps;  // dgaps: (rows, blocks, T)
  const float* A_back;  // if BOTH: the rates backwards. Then marks, states, partial sums and dgaps have a second half of
  float* dA_back;       // rows, those of the walk backwards, and dA holds the sum of both unless dA_back is there
};

DEVICE i64 token(const Arguments& p, bool back, i64 k) { return back ? p.tokens - 1 - k : k; }

// Where this block works. Tokens of its chunk are counted in walking order from `lo`; those from `from` to `to` are there.
struct Place {
  i64 row, seat, lo;  // row: of states; seat: row of what is kept for each direction. If ROWS: sequence, or -1; piece
  i64 begin, tokens;  // if ROWS: of the sequence
  bool back, adds;    // walks against time; adds to what is there already
  int length, from, to;
  int part, group, first, from_channel, count, block;  // chunk; group of channels; first channel, in its group, how many
                                                       // of 32; number in the row
};

// The packed sequence that holds a token: the first whose end lies behind it; n for the tail.
DEVICE i64 sequence(const Arguments& p, i64 at) {
  i64 lo = 0, hi = p.sequences;
  while (lo < hi) {
    const i64 middle = (lo + hi) / 2;
    if (p.borders[middle + 1] > at) hi = middle; else lo = middle + 1;
  }
  return lo;
}

// The same by the 32 lanes of a warp together: two reads after each other for up to 1,024 sequences.
DEVICE i64 sequence_of_warp(const Arguments& p, i64 at) {
  i64 lo = 0, hi = p.sequences;
  while (lo < hi) {
    const i64 step = (hi - lo + 31) / 32, r = lo + ((threadIdx.x & 31) + 1) * step - 1;
    lo += __popc(__ballot_sync(0xffffffffu, r < hi && p.borders[r + 1] <= at)) * step;
    hi = min(hi, lo + step - 1);
  }
  return lo;
}

// If ROWS: the sequence, of which nothing outside the row is believed.
DEVICE void find_sequence(const Arguments& p, Place& w, i64 row) {
  w.row = row;
  w.lo = w.begin = w.tokens = w.length = w.part = 0;
  if (row >= p.sequences) { w.row = -1; return; }
  w.begin = max((i64)0, min(p.tokens, p.borders[row]));
  w.tokens = max((i64)0, min(p.tokens, p.borders[row + 1]) - w.begin);
}

// If ROWS. A row of more than `chunk` tokens is cut: of its pieces in walking order the last is number `chunks` + sequence,
// one before it the number floor(begin / chunk) + its own: another for each piece, as each has `chunk` tokens and one more
// follows. Numbers below `chunks` that no piece has are empty. So nobody needs to know the lengths, and the longest pieces
// start first: who is last must not be long.
DEVICE void find_piece(const Arguments& p, Place& w, i64 number) {
  const bool ends = number >= p.chunks;
  i64 row = ends ? number - p.chunks : sequence_of_warp(p, (number + 1) * p.chunk);
  if (ORDERED && ends) row = ((const int*)p.marks)[row];
  find_sequence(p, w, row);
  w.seat = ends ? p.chunks + row : number;
  if (!ends) w.part = (int)(number - w.begin / p.chunk);
  else if (w.tokens > p.chunk) w.part = (int)((w.tokens - 1) / p.chunk);
  // Below 0: the sequence begins right where that number would end.
  if (!ends && (w.part < 0 || (w.part + 1) * p.chunk >= w.tokens)) { w.row = -1; return; }
  w.lo = w.part * p.chunk;
  w.length = (int)min(p.chunk, w.tokens - w.lo);
}

// If ROWS: likewise for the parts of `fine` tokens whose last states are wanted, those of all pieces but the last of a row;
// or (`back`) for those that hand something back, of all pieces but the first.
DEVICE void find_part(const Arguments& p, Place& w, i64 number, bool back) {
  find_sequence(p, w, sequence_of_warp(p, (number + 1) * p.fine));
  w.seat = number;
  const i64 lo = (number - w.begin / p.fine + back) * p.fine;
  if (w.row < 0 || lo < 0 || (back ? lo < p.chunk || lo >= w.tokens : (lo / p.chunk + 1) * p.chunk >= w.tokens)) { w.row = -1; return; }
  w.lo = lo;
  w.length = (int)min(p.fine, w.tokens - lo);
}

// If ORDERED: the place of a sequence among all, counted by a warp each.
DEVICE void order_pieces(const Arguments& p, i64 row) {
  if (row >= p.sequences) return;
  const i64 own = min(p.chunk, p.borders[row + 1] - p.borders[row]);
  int before = 0;
  for (i64 first = 0; first < p.sequences; first += 32) {
    const i64 r = first + (threadIdx.x & 31);
    bool is = false;
    if (r < p.sequences) {
      const i64 other = min(p.chunk, p.borders[r + 1] - p.borders[r]);
      is = other > own || (other == own && r < row);
    }
    before += __popc(__ballot_sync(0xffffffffu, is));
  }
  if ((threadIdx.x & 31) == 0) ((int*)p.marks)[before] = (int)row;
}

// `part`: if ROWS, of the parts of pieces: 1 walking forward, 2 for what flows back.
DEVICE Place place(const Arguments& p, int way = 0, int part = 0) {
  Place w;
  const u32 wide = (u32)p.inner, blocks = BLOCKS_OF_GROUP * (u32)p.groups;
  const u32 row = blockIdx.x / blocks;
  w.back = BOTH == 2 ? row >= (u32)p.rows : BOTH ? way : REVERSE;
  w.row = BOTH == 2 && w.back ? row - (u32)p.rows : row;
  w.seat = BOTH && w.back ? w.row + p.rows : w.row;
  w.block = blockIdx.x - row * blocks;
  w.group = w.block / BLOCKS_OF_GROUP;
  w.from_channel = w.block % BLOCKS_OF_GROUP * CHANNELS;
  w.first = w.group * wide + w.from_channel;
  w.count = min(CHANNELS, (int)wide - w.from_channel);
#if ROWS
  w.adds = false;
  if (part) find_part(p, w, row, part == 2); else find_piece(p, w, row);
  w.from = 0;
  w.to = w.length;
  return w;
#endif
  w.part = blockIdx.y + p.offset;
  // Where launches follow each other, the first half of them covers all of time, once: the second finds results there.
#if CHUNKED == 2
  w.adds = BOTH && 2 * w.part < p.chunks;
#else
  w.adds = BOTH == 2 || w.back;
#endif
  w.lo = w.part * p.chunk;
  w.length = (int)min(p.chunk, p.tokens - w.lo);
  w.from = 0;
  w.to = w.length;
  if (PACKED) {  // behind the last sequence nothing is read
    const i64 end = p.borders[p.sequences];
    if (w.back) w.from = (int)max((i64)0, min((i64)w.length, p.tokens - end - w.lo));
    else w.to = (int)max((i64)0, min((i64)w.length, end - w.lo));
  }
  return w;
}
// The backward pass needs the state before every 16 tokens: place of that before number `tile` of a row among the saved
// ones, of which there are `saved_tiles(tiles)` in a row.
DEVICE bool is_saved(i64 tile) { return !SPARSE || tile % 4 != 3; }
DEVICE i64 saved_tiles(i64 tile) { return SPARSE ? tile / 4 * 3 + min(tile % 4, (i64)3) : tile; }
// Place of a row's first saved state. If ROWS, sequence s may use those of the 16 (SPARSE: 64) tokens in which it lies, and
// s more: enough for all before it, wherever they began.
DEVICE i64 saved_from(const Arguments& p, const Place& w) {
  if (ROWS) return SPARSE ? (w.begin / 64 + w.row) * 3 : w.begin / 16 + w.row;
  return w.seat * saved_tiles((p.tokens + 15) / 16);
}

// The token, in its row of the tensors, that a block meets k-th of its own row.
DEVICE i64 place_of(const Arguments& p, const Place& w, i64 k) {
  if (ROWS) return w.begin + (w.back ? w.tokens - 1 - k : k);
  return token(p, w.back, k);
}
// Row of the tensors.
DEVICE i64 row_of(const Place& w) { return ROWS ? 0 : w.row; }

// From the sums of one row to those of the next: where D is odd, so that four states may be written at once in each.
DEVICE i64 width_of_sums(const Arguments& p) { return p.width * (STATES + 2) + (p.width & 1) * 2; }

DEVICE const float* rates_of(const Arguments& p, const Place& w) { return BOTH && w.back ? p.A_back : p.A; }

DEVICE bool live(const Place& w, int k) { return (u32)(k - w.from) < (u32)(w.to - w.from); }

// Rows of a tensor as this block walks over them: its first one and the bytes from one to the next. They stand in shared
// memory: held in registers, those of nine tensors cost the sweeps 5 % of their speed.
struct Rows { char* at; int step; };
#define X 0  // places in the table, x and dt side by side, z and dy, B and C, and what the kernels write
#define Z 2
#define STATE 4
#define Y 6
#define DX 7
#define DC 10
#define LINES 12

// Thread by thread, so that no product waits for another. A barrier must follow.
DEVICE void find_rows(const Arguments& p, const Place& w, Rows* table) {
  const int e = threadIdx.x, size = (int)sizeof(TYPE);
  if (e >= LINES) return;
  const Line line = (&p.x)[e];
  const bool states = (e & ~1) == STATE || e >= DC;
  const i64 at = row_of(w) * line.row + place_of(p, w, w.lo) * line.token + w.group * line.group + (states ? 0 : w.from_channel);
  table[e] = Rows{line.at + at * size, (w.back ? -size : size) * (int)line.token};
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
  const float low = e * fmaf(-e, fmaf(-0.33333333f, e, 0.5f), 1.f), high = fast_log2(1.f + e) * LN2;
  const float found = e < 0.03f ? low : high;
  return v <= 20.f ? found : v;
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

// If ROWS: the states of an empty sequence leave as they came, zeros if from nowhere.
template <int count> DEVICE void pass_on(float* to, const float* start, i64 at, int from) {
  float h[count];
#pragma unroll
  for (int s = 0; s < count; s++) h[s] = 0.f;
  if (start) get_states<count>(start + at, from, h);
  put_states<count>(to + at, from, h);
}
// If ROWS: take what flows into a part of a row to its end (or back to its begin), and so on through `parts` of them, `step`
// from each other from `slot` on; `a` is A log2(e).
template <int count> DEVICE void pass_parts(const Arguments& p, i64 slot, int step, int parts, int d, int from, const float* a, float* h) {
  constexpr int many = count <= 4 ? 8 : count <= 16 ? 2 : 1;  // read together: a long sequence has hundreds
  for (int first = 0; first < parts; first += many) {
    float v[many][count], spans[many];
#pragma unroll
    for (int k = 0; k < many; k++) {
      const i64 at = (slot + step * min(first + k, parts - 1)) * p.width + d;
      spans[k] = p.spans[at];
      get_states<count>(p.carry + at * STATES, from, v[k]);
    }
#pragma unroll
    for (int k = 0; k < many; k++) {
      if (first + k >= parts) break;
#pragma unroll
      for (int s = 0; s < count; s++) h[s] = fmaf(fast_exp2(a[s] * spans[k]), h[s], v[k][s]);
    }
  }
}

// Four sums of dB or dC at states n to n+3.
DEVICE void put_sums(TYPE* to, int n, float4 v, float scale, bool adds = false) {
  float f[4] = {v.x * scale, v.y * scale, v.z * scale, v.w * scale};
  if (adds) {
#pragma unroll
    for (int s = 0; s < 4; s++) if (n + s < STATES) f[s] += wide(to[s]);
  }
  alignas(16) TYPE q[4];
#pragma unroll
  for (int s = 0; s < 4; s++) narrow(q[s], f[s]);
#if STATES == PADDED
  if (sizeof(TYPE) == 4) *(uint4*)to = *(const uint4*)q; else *(uint2*)to = *(const uint2*)q;
#else
#pragma unroll
  for (int s = 0; s < 4; s++) if (n + s < STATES) to[s] = q[s];
#endif
}

// Four floats in 8 bytes: 14 bits each and the exponent of the largest. The error is 2^-14 of that at most, a thirtieth of
// what rounding to bfloat16 costs: enough for what a backward pass in 16 bits keeps, at half the room.
struct Packed { u32 low, high; };
DEVICE Packed pack(const float* h) {
  const float most = fmaxf(fmaxf(fabsf(h[0]), fabsf(h[1])), fmaxf(fabsf(h[2]), fabsf(h[3])));
  // Scaled so that the largest lies in [2^12, 2^13); next to nothing is nothing, and what is not finite stays so.
  const u32 exponent = min(max(__float_as_uint(most) >> 23, 14u), 254u);
  const float scale = __uint_as_float((266u - exponent) << 23);
  u32 q[4];
#pragma unroll
  for (int s = 0; s < 4; s++) {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
    const float v = fminf(fmaxf(h[s] * scale, -8191.f), 8191.f);
    q[s] = __float_as_uint(v + 12582912.f) & 0x3fffu;
  }
  const u32 mark = most < INFINITE ? exponent : 255u;
  return Packed{q[0] | q[1] << 14 | q[2] << 28, q[2] >> 4 | q[3] << 10 | mark << 24};
}
DEVICE void unpack(Packed v, float* h) {
  const u32 exponent = v.high >> 24;
  const float scale = exponent == 255u ? __uint_as_float(0x7fc00000u) : __uint_as_float((exponent - 12u) << 23);
  const u32 q[4] = {v.low, v.low >> 14, v.low >> 28 | v.high << 4, v.high >> 10};
  // Shifting the 14 bits up by half their range makes them positive; 2^23 + 2^13 takes it back.
#pragma unroll
  for (int s = 0; s < 4; s++) h[s] = (__uint_as_float(0x4b000000u | ((q[s] & 0x3fffu) ^ 0x2000u)) - 8396800.f) * scale;
}

// One tile of `many` tensors, `apart` elements from each other in shared memory, 16 rows of 32 channels from token k of the
// chunk; zeros where none is. Two tensors in two bytes an element are one copy a thread.
template <int many> DEVICE void load_channels(const Place& w, TYPE* to, int apart, const Rows* from, int k) {
#if WIDE
  const int per = TILE * CHANNELS / PIECE;
#pragma unroll
  for (int round = 0; round < (many * per + THREADS - 1) / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, which = e / per, t = e % per / (CHANNELS / PIECE), c = e % (CHANNELS / PIECE) * PIECE;
    if (many * per % THREADS == 0 || which < many)
      copy16(to + which * apart + t * ROW + c, from[which].at + (i64)(k + t) * from[which].step + c * sizeof(TYPE), live(w, k + t) && c < w.count);
  }
#else
  for (int e = threadIdx.x; e < many * TILE * CHANNELS; e += THREADS) {
    const int which = e / (TILE * CHANNELS), t = e / CHANNELS % TILE, c = e % CHANNELS;
    TYPE v;
    narrow(v, 0.f);
    if (live(w, k + t) && c < w.count) v = ((const TYPE*)(from[which].at + (i64)(k + t) * from[which].step))[c];
    to[which * apart + t * ROW + c] = v;
  }
#endif
}

// The same of B, or of B and C: 16 rows of PADDED states.
template <int many> DEVICE void load_states(const Place& w, TYPE* to, int apart, const Rows* from, int k) {
#if WIDE_STATES
  const int per = TILE * PADDED / PIECE;
#pragma unroll
  for (int round = 0; round < (many * per + THREADS - 1) / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, which = e / per, t = e % per / (PADDED / PIECE), n = e % (PADDED / PIECE) * PIECE;
    if (many * per % THREADS == 0 || which < many)
      copy16(to + which * apart + t * PADDED + n, from[which].at + (i64)(k + t) * from[which].step + n * sizeof(TYPE), live(w, k + t) && n < STATES);
  }
#else
  for (int e = threadIdx.x; e < many * TILE * PADDED; e += THREADS) {
    const int which = e / (TILE * PADDED), t = e / PADDED % TILE, n = e % PADDED;
    TYPE v;
    narrow(v, 0.f);
    if (live(w, k + t) && n < STATES) v = ((const TYPE*)(from[which].at + (i64)(k + t) * from[which].step))[n];
    to[which * apart + t * PADDED + n] = v;
  }
#endif
}

DEVICE i64 marks_of_way(const Arguments& p) { return (p.tokens + 15) / 16 * 16; }

// Gaps and marks of one tile. In reverse a token uses the gap of its successor in time.
DEVICE void load_times(const Arguments& p, const Place& w, float* gaps, unsigned char* marks, int k) {
  if (GAPS && threadIdx.x < TILE) {
    const i64 at = place_of(p, w, w.lo + k + threadIdx.x) + w.back;
    copy4(gaps + threadIdx.x, p.gaps + row_of(w) * p.tokens + at, live(w, k + threadIdx.x) && at < p.tokens);
  }
  if (PACKED && threadIdx.x >= 96 && threadIdx.x < 96 + TILE / 16) {
    const int t = (threadIdx.x - 96) * 16;
    copy16(marks + t, p.marks + (BOTH && w.back ? marks_of_way(p) : 0) + w.lo + k + t, k + t < w.length);
  }
}

// The gap of token t of a tile, from what load_times brought. Where no token is, no time passes: the state stands still.
DEVICE float gap_of(const Place& w, const float* gaps, const unsigned char* marks, int k, int t) {
  if (!live(w, k + t)) return 0.f;
  if (!GAPS || (w.back && (w.lo + k + t == 0 || (PACKED && (marks[t] & ENTER))))) return 1.f;
  return gaps[t];
}

// One tile of `many` results from shared memory to (rows, T, D).
template <int many> DEVICE void store_channels(const Place& w, const Rows* to, const TYPE* from, int apart, int k) {
#if WIDE
  const int per = TILE * CHANNELS / PIECE;
#pragma unroll
  for (int round = 0; round < (many * per + THREADS - 1) / THREADS; round++) {
    const int e = round * THREADS + threadIdx.x, which = e / per, t = e % per / (CHANNELS / PIECE), c = e % (CHANNELS / PIECE) * PIECE;
    if ((many * per % THREADS == 0 || which < many) && k + t < w.length && c < w.count) {
      char* at = to[which].at + (i64)(k + t) * to[which].step + c * sizeof(TYPE);
      const uint4 v = *(const uint4*)(from + which * apart + t * ROW + c);
      if (BOTH && w.adds) add16((TYPE*)at, v); else write16(at, v);
    }
  }
#else
  for (int e = threadIdx.x; e < many * TILE * CHANNELS; e += THREADS) {
    const int which = e / (TILE * CHANNELS), t = e / CHANNELS % TILE, c = e % CHANNELS;
    if (k + t < w.length && c < w.count) {
      TYPE *at = (TYPE*)(to[which].at + (i64)(k + t) * to[which].step) + c, v = from[which * apart + t * ROW + c];
      if (BOTH && w.adds) narrow(v, wide(v) + wide(*at));
      *at = v;
    }
  }
#endif
}

// If ROWS: zeros behind the last sequence, for `width` numbers a token; all pieces of the same channels share the work.
DEVICE void blank(const Arguments& p, const Place& w, const Line& line, i64 from, int width) {
  const int lane = threadIdx.x & 31;
  const i64 end = max((i64)0, min(p.tokens, p.borders[p.sequences])), pieces = p.chunks + p.sequences;
  for (i64 t = end + w.seat * 4 + (threadIdx.x >> 5); t < p.tokens; t += pieces * 4) {
    TYPE* at = (TYPE*)line.at + t * line.token + w.group * line.group + from;
    for (int c = lane; c < width; c += 32) narrow(at[c], 0.f);
  }
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
