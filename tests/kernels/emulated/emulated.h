// Takes the place of device.cuh where a .cu is compiled by a C++ compiler: the same words, run by threads that are
// fibers (runtime.cpp). Arithmetic is IEEE: the approximate words are exact here, up to the rounding of libm.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "runtime.h"

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define __device__
#define __host__
#define __global__
#define __grid_constant__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ emulated_has_only_dynamic_shared_memory_use_SHARED
#define DEVICE static inline
#define KERNEL extern "C" void
#define PARAMETER const
#define BOUNDS(threads, blocks)
#define SHARED(name) char* const name = emulated::now->shared

#define threadIdx (emulated::now->thread)
#define blockIdx (emulated::now->block)
#define blockDim (emulated::now->threads)
#define gridDim (emulated::now->blocks)
#define warpSize 32

#include "vectors.h"
#include "arithmetic.h"
#include "warp.h"

// Copies land when they are waited for or earlier: the order of the threads decides (runtime.cpp).
DEVICE void copy16(void* to, const void* from, bool there, EMULATED_HERE) { emulated::copy(to, from, 16, there, site); }
DEVICE void copy8(void* to, const void* from, bool there, EMULATED_HERE) { emulated::copy(to, from, 8, there, site); }
DEVICE void copy4(void* to, const void* from, bool there, EMULATED_HERE) { emulated::copy(to, from, 4, there, site); }
DEVICE void write16(void* to, uint4 v) { *(uint4*)to = v; }
DEVICE void write8(void* to, uint2 v) { *(uint2*)to = v; }
// Atomic as on compute capability 9.0: two blocks may add to one place.
template <class T> EMULATED_ATOMIC void add16(T* to, uint4 v) {
  emulated::touch(to, 16);
  T before[16 / sizeof(T)], more[16 / sizeof(T)];
  memcpy(before, to, 16);
  memcpy(more, &v, 16);
  for (size_t k = 0; k < 16 / sizeof(T); ++k) narrow(before[k], wide(before[k]) + wide(more[k]));
  memcpy(to, before, 16);
}
DEVICE void commit_copies() { emulated::commit(); }
template <int open> DEVICE void wait_copies() { emulated::wait_groups(open); }
