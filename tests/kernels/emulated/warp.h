// What the threads of a block do together: barriers, exchanges between the 32 lanes of a warp, products of fragments.
#pragma once

DEVICE void __syncthreads(EMULATED_HERE) { emulated::wait_block(site); }

static inline void emulated_whole(u32 mask, emulated::Site site) {
  if (mask != 0xffffffffu) emulated::stop("the emulator knows exchanges of the whole warp only: mask 0xffffffff", site);
}
DEVICE void __syncwarp(u32 mask = 0xffffffffu, EMULATED_HERE) {
  emulated_whole(mask, site);
  emulated::gather(emulated::warp_barrier, site, nullptr, 0);
}
template <class T> static inline T emulated_from(emulated::Kind kind, T v, u32 lane, emulated::Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes");
  constexpr int words = sizeof(T) / 4;
  u32 own[words];
  memcpy(own, &v, sizeof v);
  const emulated::Words* all = emulated::gather(kind, site, own, words);
  memcpy(&v, all[lane & 31u], sizeof v);
  return v;
}
template <class T> DEVICE T __shfl_sync(u32 mask, T v, int from, int width = 32, EMULATED_HERE) {
  emulated_whole(mask, site);
  const u32 lane = emulated::now->lane, first = lane & ~(u32)(width - 1);
  return emulated_from(emulated::broadcast, v, first | ((u32)from & (u32)(width - 1)), site);
}
template <class T> DEVICE T __shfl_xor_sync(u32 mask, T v, int bits, int width = 32, EMULATED_HERE) {
  emulated_whole(mask, site);
  const u32 lane = emulated::now->lane, other = lane ^ (u32)bits;
  return emulated_from(emulated::exchange, v, other / (u32)width > lane / (u32)width ? lane : other, site);
}
template <class T> DEVICE T __shfl_up_sync(u32 mask, T v, u32 by, int width = 32, EMULATED_HERE) {
  emulated_whole(mask, site);
  const u32 lane = emulated::now->lane;
  return emulated_from(emulated::exchange, v, lane % (u32)width < by ? lane : lane - by, site);
}
template <class T> DEVICE T __shfl_down_sync(u32 mask, T v, u32 by, int width = 32, EMULATED_HERE) {
  emulated_whole(mask, site);
  const u32 lane = emulated::now->lane;
  return emulated_from(emulated::exchange, v, lane % (u32)width + by >= (u32)width ? lane : lane + by, site);
}
DEVICE u32 __ballot_sync(u32 mask, int v, EMULATED_HERE) {
  emulated_whole(mask, site);
  const u32 own = v != 0;
  const emulated::Words* all = emulated::gather(emulated::vote, site, &own, 1);
  u32 r = 0;
  for (int lane = 0; lane < 32; ++lane) r |= all[lane][0] << lane;
  return r;
}
DEVICE int __any_sync(u32 mask, int v, EMULATED_HERE) { return __ballot_sync(mask, v, site) != 0; }
DEVICE int __all_sync(u32 mask, int v, EMULATED_HERE) { return __ballot_sync(mask, v, site) == 0xffffffffu; }

DEVICE float exchange(float v, int mask, EMULATED_HERE) {
  if ((u32)mask > 31u) emulated::stop("exchange takes a mask of 0 to 31", site);
  return __shfl_xor_sync(0xffffffffu, v, mask, 32, site);
}
DEVICE float broadcast(float v, int from, EMULATED_HERE) {
  if ((u32)from > 31u) emulated::stop("broadcast takes a lane of 0 to 31", site);
  return __shfl_sync(0xffffffffu, v, from, 32, site);
}

// tf32 keeps 10 of 23 bits of the fraction: the tensor cores ignore the rest.
static inline double emulated_tf32(u32 word) { return (double)__uint_as_float(word & 0xffffe000u); }

static inline void emulated_multiply(float* d, const float* v, float s0, float s1, bool add, emulated::Site site) {
  const u32 own[6] = {__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
                      __float_as_uint(v[3]), __float_as_uint(s0),   __float_as_uint(s1)};
  const emulated::Words* all = emulated::gather(emulated::multiply, site, own, 6);
  const u32 lane = emulated::now->lane;
  for (u32 k = 0; k < 4; ++k) {
    const u32 row = lane / 4, below = k / 2, column = 2 * (lane % 4) + k % 2;
    double sum = add ? (double)d[k] : 0.;
    for (u32 i = 0; i < 8; ++i)
      sum += emulated_tf32(all[row * 4 + i % 4][i / 4 * 2 + below]) * emulated_tf32(all[column * 4 + i % 4][4 + i / 4]);
    d[k] = (float)sum;
  }
}
DEVICE void multiply_tf32(float* d, const float* v, float s0, float s1, EMULATED_HERE) {
  emulated_multiply(d, v, s0, s1, false, site);
}
DEVICE void multiply_add_tf32(float* d, const float* v, float s0, float s1, EMULATED_HERE) {
  emulated_multiply(d, v, s0, s1, true, site);
}
