// The last sums of the backward pass, in a fixed order: dA, dD, dbias over rows and chunks (blocks below `split`, if this is
// the last launch), dB and dC over the blocks of a group (the others, unless MERGED).
#if !MERGED
DEVICE void sum_blocks(const Arguments& p, i64 at, i64 width, float4& v) {
#pragma unroll 8
  for (int j = 0; j < BLOCKS_OF_GROUP; j++) {
    float u[4];
    if (EXACT) {
      const float4 q = ((const float4*)p.partial)[at + j * width / 4];
      u[0] = q.x; u[1] = q.y; u[2] = q.z; u[3] = q.w;
    } else unpack(((const Packed*)p.partial)[at + j * width / 4], u);
    v.x += u[0]; v.y += u[1]; v.z += u[2]; v.w += u[3];
  }
}
#endif

KERNEL BOUNDS(THREADS, 1) scan_finish(PARAMETER Arguments p) {
  const i64 wide = p.width * (STATES + 2), split = p.offset == 0 ? (wide + 31) / 32 : 0;
  if (blockIdx.x < split) {
    SHARED(memory);
    float* shared = (float*)memory;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const i64 e = (i64)blockIdx.x * 32 + lane, many = ROWS ? p.chunks + p.sequences : CHUNKED == 2 ? p.rows : p.rows * p.chunks;
    const i64 apart = width_of_sums(p);
    float v = 0.f, back = 0.f;
    if (e < wide) {
#pragma unroll 4
      for (i64 k = warp; k < many; k += 4) v += p.sums[k * apart + e];
      if (BOTH) {
#pragma unroll 4
        for (i64 k = warp; k < many; k += 4) back += p.sums[(many + k) * apart + e];
      }
    }
    shared[threadIdx.x] = v;
    if (BOTH) shared[THREADS + threadIdx.x] = back;
    __syncthreads();
    if (warp || e >= wide) return;
    v = (shared[lane] + shared[32 + lane]) + (shared[64 + lane] + shared[96 + lane]);
    if (BOTH) {
      back = (shared[128 + lane] + shared[160 + lane]) + (shared[192 + lane] + shared[224 + lane]);
      if (e < p.width * STATES && p.dA_back) p.dA_back[e] = back; else v += back;
    }
    if (e < p.width * STATES) p.dA[e] = v;
    else if (e < p.width * (STATES + 1)) { if (SKIP) p.dD[e - p.width * STATES] = v; }
    else if (BIASED) p.dbias[e - p.width * (STATES + 1)] = v;
    return;
  }
#if !MERGED
  const i64 per = PADDED / 4 * 2, e = (blockIdx.x - split) * THREADS + threadIdx.x;
  const i64 from = p.offset * p.chunk, room = min(p.tokens - from, p.room);  // tokens of this launch, in walking order
  // Where launches follow each other, the directions are at different tokens, so that each has threads of its own.
  const bool apart = BOTH && CHUNKED == 2;
  const i64 rows = p.rows * p.groups;
  if (e >= (apart ? 2 * rows : rows) * room * per) return;
  const i64 k = e / per % room, row = e / per / room;  // token; row of the batch and group
  const int n = (int)(e % per % (PADDED / 4)) * 4, second = (int)(e % per / (PADDED / 4));
  const i64 width = min(p.tokens, p.room) * 2 * PADDED;
  const i64 at = (row * BLOCKS_OF_GROUP * width + (k * 2 + second) * PADDED + n) / 4;
  float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
  const bool back = apart ? row >= rows : !BOTH && REVERSE;
  // Behind the last packed sequence there are no sums.
  if (!ROWS || token(p, back, from + k) < p.borders[p.sequences]) sum_blocks(p, at, width, v);
  if (BOTH && !apart) sum_blocks(p, ((row + rows) * BLOCKS_OF_GROUP * width + ((p.tokens - 1 - k) * 2 + second) * PADDED + n) / 4, width, v);
  const i64 seat = apart && back ? row - rows : row;
  TYPE* to = (TYPE*)(second ? p.dB : p.dC).at + ((seat / p.groups * p.tokens + token(p, back, from + k)) * p.groups + seat % p.groups) * STATES + n;
  put_sums(to, n, v, EXACT ? 1.f : TRUNCATED, apart && 2 * p.offset < p.chunks);
#endif
}
