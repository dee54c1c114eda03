// CUDA's short vectors, with the alignment that lets the GPU load them in one instruction.
#pragma once

#define EMULATED_VECTOR2(name, type) \
  struct alignas(2 * sizeof(type)) name { type x, y; }; \
  static inline name make_##name(type x, type y) { return {x, y}; }
#define EMULATED_VECTOR3(name, type) \
  struct name { type x, y, z; }; \
  static inline name make_##name(type x, type y, type z) { return {x, y, z}; }
#define EMULATED_VECTOR4(name, type) \
  struct alignas(sizeof(type) < 4 ? 4 * sizeof(type) : 16) name { type x, y, z, w; }; \
  static inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }

EMULATED_VECTOR2(char2, signed char)
EMULATED_VECTOR2(uchar2, unsigned char)
EMULATED_VECTOR2(short2, short)
EMULATED_VECTOR2(ushort2, unsigned short)
EMULATED_VECTOR2(int2, int)
EMULATED_VECTOR2(uint2, unsigned)
EMULATED_VECTOR2(longlong2, long long)
EMULATED_VECTOR2(ulonglong2, unsigned long long)
EMULATED_VECTOR2(float2, float)
EMULATED_VECTOR2(double2, double)
EMULATED_VECTOR3(int3, int)
EMULATED_VECTOR3(float3, float)
EMULATED_VECTOR4(char4, signed char)
EMULATED_VECTOR4(uchar4, unsigned char)
EMULATED_VECTOR4(short4, short)
EMULATED_VECTOR4(ushort4, unsigned short)
EMULATED_VECTOR4(int4, int)
EMULATED_VECTOR4(uint4, unsigned)
EMULATED_VECTOR4(float4, float)
