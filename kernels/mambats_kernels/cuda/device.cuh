// The words of the machine that the kernels use: each is one or two instructions. An emulator defines the same names
// in plain C++ (tests/kernels/emulated), so kernels hold no assembly of their own. Built by NVRTC: no header is included.
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define PARAMETER const __grid_constant__
#define BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
// Dynamic shared memory, aligned to 16 bytes.
#define SHARED(name) extern __shared__ __align__(16) char name[]

struct bf16 { u16 bits; };
struct fp16 { u16 bits; };

DEVICE float wide(float v) { return v; }
DEVICE float wide(bf16 v) { return __uint_as_float((u32)v.bits << 16); }
DEVICE float wide(fp16 v) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits)); return r; }
DEVICE void narrow(float& to, float v) { to = v; }
DEVICE void narrow(bf16& to, float v) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(v)); }
DEVICE void narrow(fp16& to, float v) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(v)); }

// 2^v, log2(v) and 1/v by the special function unit: relative error about 2^-22, log2 absolute 2^-22 near 1.
DEVICE float fast_exp2(float v) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE float fast_log2(float v) { float r; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE float fast_reciprocal(float v) { float r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }

// The value of the lane whose number differs by the bits of mask; of lane `from`. All 32 lanes must call.
DEVICE float exchange(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE float broadcast(float v, int from) { return __shfl_sync(0xffffffffu, v, from); }

// Copy 16 (or 8, or 4) bytes from global to shared memory without waiting, or write zeros if not `there`; both ends aligned.
DEVICE void copy16(void* to, const void* from, bool there) {
  u32 address = (u32)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(address), "l"(from), "r"(there ? 16 : 0));
}
DEVICE void copy8(void* to, const void* from, bool there) {
  u32 address = (u32)__cvta_generic_to_shared(to);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" :: "r"(address), "l"(from), "r"(there ? 8 : 0));
}
DEVICE void copy4(void* to, const void* from, bool there) {
  u32 address = (u32)__cvta_generic_to_shared(to);
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" :: "r"(address), "l"(from), "r"(there ? 4 : 0));
}
// 16 bytes to an address in global memory that came out of shared memory, which the compiler would take for any address.
DEVICE void write16(void* to, uint4 v) {
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" :: "l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
DEVICE void write8(void* to, uint2 v) {
  asm volatile("st.global.v2.b32 [%0], {%1,%2};" :: "l"(to), "r"(v.x), "r"(v.y) : "memory");
}
// Add eight (four) numbers to those in global memory, 16 bytes aligned, each sum rounded once. Atomic on compute capability
// 9.0 and newer, where the threads of a warp need not wait for what was there; before, nobody else may write there.
#if __CUDA_ARCH__ >= 900
DEVICE void add16(float* to, uint4 v) {
  asm volatile("red.global.add.v4.f32 [%0], {%1,%2,%3,%4};" :: "l"(to), "f"(__uint_as_float(v.x)), "f"(__uint_as_float(v.y)),
    "f"(__uint_as_float(v.z)), "f"(__uint_as_float(v.w)) : "memory");
}
DEVICE void add16(bf16* to, uint4 v) {
  asm volatile("red.global.add.noftz.v4.bf16x2 [%0], {%1,%2,%3,%4};" :: "l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
DEVICE void add16(fp16* to, uint4 v) {
  asm volatile("red.global.add.noftz.v4.f16x2 [%0], {%1,%2,%3,%4};" :: "l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
#else
template <class T> DEVICE void add16(T* to, uint4 v) {
  uint4 sum = *(const uint4*)to;
  for (int k = 0; k < 16 / (int)sizeof(T); k++) narrow(((T*)&sum)[k], wide(((const T*)&sum)[k]) + wide(((const T*)&v)[k]));
  *(uint4*)to = sum;
}
#endif
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;"); }
// Wait until at most `open` committed groups of this thread are still under way (then a barrier shows them to others).
template <int open> DEVICE void wait_copies() { asm volatile("cp.async.wait_group %0;" :: "n"(open)); }

// d = v * s (+ d): v the 16x8 A fragment (4 values a lane), s the 8x8 B fragment (2 values a lane), tf32 in, fp32 out.
// Lane l holds v[0] = A[l/4][l%4], v[1] = A[l/4+8][l%4], v[2] = A[l/4][l%4+4], v[3] = A[l/4+8][l%4+4]; s0 = B[l%4][l/4],
// s1 = B[l%4+4][l/4]; d[0], d[1] = D[l/4][2(l%4)], D[l/4][2(l%4)+1]; d[2], d[3] the same 8 rows below. Inputs are truncated.
DEVICE void multiply_tf32(float* d, const float* v, float s0, float s1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
    : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
    : "r"(__float_as_uint(v[0])), "r"(__float_as_uint(v[1])), "r"(__float_as_uint(v[2])), "r"(__float_as_uint(v[3])),
      "r"(__float_as_uint(s0)), "r"(__float_as_uint(s1)), "f"(0.f));
}
DEVICE void multiply_add_tf32(float* d, const float* v, float s0, float s1) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
    : "r"(__float_as_uint(v[0])), "r"(__float_as_uint(v[1])), "r"(__float_as_uint(v[2])), "r"(__float_as_uint(v[3])),
      "r"(__float_as_uint(s0)), "r"(__float_as_uint(s1)));
}

// Clusters of blocks (compute capability 9.0): rank along x, the same place in another block's shared memory, and a
// barrier in two halves, of which the first publishes and the second receives. Without clusters they do nothing.
#if MAMBATS_CLUSTER > 1
DEVICE u32 cluster_rank() { u32 r; asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r)); return r; }
DEVICE void store_remote(float4* place, u32 rank, float4 v) {
  u32 own = (u32)__cvta_generic_to_shared(place), far;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(far) : "r"(own), "r"(rank));
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1,%2,%3,%4};" :: "r"(far), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
#else
DEVICE u32 cluster_rank() { return 0; }
DEVICE void store_remote(float4* place, u32, float4 v) { *place = v; }
DEVICE void cluster_arrive() {}
DEVICE void cluster_wait() {}
#endif
