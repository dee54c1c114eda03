// The last sums of the backward pass, in a fixed order: dA, dD, dbias over rows and chunks (blocks below `split`, if this is
// the last launch), dB and dC over the blocks of a group (the others, unless MERGED).
KERNEL BOUNDS(THREADS, 1) scan_finish(PARAMETER Arguments p) {
  const i64 wide = p.width * (STATES + 2), split = p.offset == 0 ? (wide + 31) / 32 : 0;
  if (blockIdx.x < split) {
    SHARED(memory);
    float* shared = (float*)memory;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const i64 e = (i64)blockIdx.x * 32 + lane, many = CHUNKED == 2 ? p.rows : p.rows * p.chunks;
    float v = 0.f;
    if (e < wide) {
#pragma unroll 4
      for (i64 k = warp; k < many; k += 4) v += p.sums[k * wide + e];
    }
    shared[threadIdx.x] = v;
    __syncthreads();
    if (warp || e >= wide) return;
    v = (shared[lane] + shared[32 + lane]) + (shared[64 + lane] + shared[96 + lane]);
    if (e < p.width * STATES) p.dA[e] = v;
    else if (e < p.width * (STATES + 1)) { if (SKIP) p.dD[e - p.width * STATES] = v; }
    else if (BIASED) p.dbias[e - p.width * (STATES + 1)] = v;
    return;
  }
#if !MERGED
  const i64 per = PADDED / 4 * 2, e = (blockIdx.x - split) * THREADS + threadIdx.x;
  const i64 from = p.offset * p.chunk, room = min(p.tokens - from, p.room);  // tokens of this launch, in walking order
  if (e >= p.rows * p.groups * room * per) return;
  const i64 k = e / per % room, row = e / per / room;  // token; row of the batch and group
  const int n = (int)(e % per % (PADDED / 4)) * 4, second = (int)(e % per / (PADDED / 4));
  const i64 width = min(p.tokens, p.room) * 2 * PADDED;
  const i64 at = (row * BLOCKS_OF_GROUP * width + (k * 2 + second) * PADDED + n) / 4;
  float4 v = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll 8
  for (int j = 0; j < BLOCKS_OF_GROUP; j++) {
    float u[4];
    if (EXACT) {
      const float4 q = ((const float4*)p.partial)[at + j * width / 4];
      u[0] = q.x; u[1] = q.y; u[2] = q.z; u[3] = q.w;
    } else unpack(((const Packed*)p.partial)[at + j * width / 4], u);
    v.x += u[0]; v.y += u[1]; v.z += u[2]; v.w += u[3];
  }
  TYPE* to = (TYPE*)(second ? p.dB : p.dC).at + ((row / p.groups * p.tokens + token(p, from + k)) * p.groups + row % p.groups) * STATES + n;
  put_sums(to, n, v, EXACT ? 1.f : TRUNCATED);
#endif
}
