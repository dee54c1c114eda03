// Numbers: bits and values, half precisions rounded as the GPU does, the approximate words, CUDA's mathematics.
#pragma once

template <class To, class From> static inline To emulated_bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "as many bits");
  To r;
  memcpy(&r, &v, sizeof r);
  return r;
}
DEVICE u32 __float_as_uint(float v) { return emulated_bits<u32>(v); }
DEVICE int __float_as_int(float v) { return emulated_bits<int>(v); }
DEVICE float __uint_as_float(u32 v) { return emulated_bits<float>(v); }
DEVICE float __int_as_float(int v) { return emulated_bits<float>(v); }

struct bf16 { u16 bits; };
struct fp16 { u16 bits; };

DEVICE float wide(float v) { return v; }
DEVICE float wide(bf16 v) { return __uint_as_float((u32)v.bits << 16); }
DEVICE float wide(fp16 v) {
  const u32 sign = (u32)(v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31u, fraction = v.bits & 1023u;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | fraction << 13);
  if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
  const float small = (float)fraction * 0x1p-24f;  // zero or subnormal: exact
  return sign ? -small : small;
}
DEVICE void narrow(float& to, float v) { to = v; }
DEVICE void narrow(bf16& to, float v) {
  const u32 bits = __float_as_uint(v);
  to.bits = v != v ? 0x7fff : (u16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);  // to nearest, ties to even
}
DEVICE void narrow(fp16& to, float v) {
  const u32 bits = __float_as_uint(v), sign = bits >> 16 & 0x8000u;
  const float size = __uint_as_float(bits & 0x7fffffffu);
  u32 r;
  if (v != v) { to.bits = 0x7fff; return; }
  if (size >= 65520.f) r = 0x7c00;  // the middle between the largest number and the next power of two goes to infinity
  else if (size < 0x1p-14f) r = (u32)nearbyintf(size * 0x1p24f);  // subnormal: the scaling is exact, the rounding is to even
  else r = (__float_as_uint(size) + 0xfffu + (bits >> 13 & 1u) - (112u << 23)) >> 13;
  to.bits = (u16)(sign | r);
}

// .ftz: subnormal numbers are zeros, coming in and going out.
static inline float emulated_flush(float v) { return fabsf(v) < 0x1p-126f ? copysignf(0.f, v) : v; }
DEVICE float fast_exp2(float v) { return emulated_flush(exp2f(emulated_flush(v))); }
DEVICE float fast_log2(float v) { return log2f(emulated_flush(v)); }
DEVICE float fast_reciprocal(float v) { return emulated_flush(1.f / emulated_flush(v)); }

template <class A, class B> DEVICE std::common_type_t<A, B> min(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return std::fmin((C)a, (C)b);
  else return (C)b < (C)a ? (C)b : (C)a;
}
template <class A, class B> DEVICE std::common_type_t<A, B> max(A a, B b) {
  using C = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<C>) return std::fmax((C)a, (C)b);
  else return (C)a < (C)b ? (C)b : (C)a;
}
#define __expf expf  // macros, as libm has taken these names
#define __logf logf
#define __log2f log2f
DEVICE float __fdividef(float a, float b) { return a / b; }
DEVICE float __frcp_rn(float v) { return 1.f / v; }
DEVICE float __fmul_rn(float a, float b) { return a * b; }  // contraction is off in the emulator
DEVICE float __fadd_rn(float a, float b) { return a + b; }
DEVICE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float rsqrtf(float v) { return 1.f / sqrtf(v); }
DEVICE float __saturatef(float v) { return v > 0.f ? (v < 1.f ? v : 1.f) : 0.f; }
DEVICE int __float2int_rn(float v) { return (int)nearbyintf(v); }
DEVICE int __float2int_rd(float v) { return (int)floorf(v); }
DEVICE int __popc(u32 v) { return __builtin_popcount(v); }
DEVICE int __clz(u32 v) { return v ? __builtin_clz(v) : 32; }
DEVICE int __ffs(u32 v) { return __builtin_ffs((int)v); }
DEVICE u32 __brev(u32 v) {
  u32 r = 0;
  for (int k = 0; k < 32; ++k) r |= (v >> k & 1u) << (31 - k);
  return r;
}

template <class T> DEVICE T __ldg(const T* from) { return *from; }
template <class T> DEVICE T __ldcs(const T* from) { return *from; }
template <class T> DEVICE T __ldcg(const T* from) { return *from; }
template <class T> DEVICE void __stcs(T* to, T v) { *to = v; }
template <class T> DEVICE void __stcg(T* to, T v) { *to = v; }

// Nobody else runs while a thread does: plain reads and writes are atomic, and no race.
#define EMULATED_ATOMIC __attribute__((noinline, no_sanitize("thread"))) static
template <class T, class V> EMULATED_ATOMIC T atomicExch(T* to, V v) {
  emulated::touch(to, sizeof(T));
  T old = *to;
  *to = (T)v;
  return old;
}
template <class T, class V> EMULATED_ATOMIC T atomicAdd(T* to, V v) {
  emulated::touch(to, sizeof(T));
  T old = *to;
  *to = old + (T)v;
  return old;
}
template <class T, class V> EMULATED_ATOMIC T atomicMax(T* to, V v) {
  emulated::touch(to, sizeof(T));
  T old = *to;
  if (old < (T)v) *to = (T)v;
  return old;
}
template <class T, class V> EMULATED_ATOMIC T atomicMin(T* to, V v) {
  emulated::touch(to, sizeof(T));
  T old = *to;
  if ((T)v < old) *to = (T)v;
  return old;
}
template <class T, class U, class V> EMULATED_ATOMIC T atomicCAS(T* to, U expected, V v) {
  emulated::touch(to, sizeof(T));
  T old = *to;
  if (old == (T)expected) *to = (T)v;
  return old;
}
DEVICE void __threadfence() { emulated::fence(); }
DEVICE void __threadfence_block() {}
