// Kernels that do as they should, one for each number `task`; test_emulator.py compares them with numpy and torch.
struct Arguments {
  const float* in;
  float* out;
  void* bits;
  int task, size;
};

// Lane l of a warp gets what lane l ^ 5 and lane 7 hold, and the vote of all.
DEVICE void exchanges(const Arguments& p) {
  const int t = threadIdx.x;
  const float v = p.in[t];
  p.out[t] = exchange(v, 5);
  p.out[blockDim.x + t] = broadcast(v, 7);
  p.out[2 * blockDim.x + t] = __popc(__ballot_sync(0xffffffffu, v > 0.f));
  p.out[3 * blockDim.x + t] = __shfl_up_sync(0xffffffffu, v, 3);
}

// A (16x8), B (8x8) and C (16x8) in rows; out = A B, then A B + C.
DEVICE void products(const Arguments& p) {
  const int l = threadIdx.x, row = l / 4, k = l % 4;
  const float *a = p.in, *b = a + 128, *c = b + 64;
  const float v[4] = {a[row * 8 + k], a[(row + 8) * 8 + k], a[row * 8 + k + 4], a[(row + 8) * 8 + k + 4]};
  const float s0 = b[k * 8 + row], s1 = b[(k + 4) * 8 + row];
  float d[4], e[4];
  #pragma unroll
  for (int i = 0; i < 4; i++) e[i] = c[(row + i / 2 * 8) * 8 + 2 * k + i % 2];
  multiply_tf32(d, v, s0, s1);
  multiply_add_tf32(e, v, s0, s1);
  #pragma unroll
  for (int i = 0; i < 4; i++) {
    p.out[(row + i / 2 * 8) * 8 + 2 * k + i % 2] = d[i];
    p.out[128 + (row + i / 2 * 8) * 8 + 2 * k + i % 2] = e[i];
  }
}

// Running sum over the block by barriers, a ring of two tiles filled by copies; `size` numbers, zeros after them.
DEVICE void ring(const Arguments& p) {
  SHARED(memory);
  float4* tiles = (float4*)memory;  // [2][threads]
  const int t = threadIdx.x, threads = blockDim.x, count = (p.size / 4 + threads - 1) / threads;
  const float4* in = (const float4*)p.in;
  float sum = 0.f;
  copy16(tiles + t, in + t, t * 4 < p.size);
  commit_copies();
  for (int i = 0; i < count; i++) {
    const int next = (i + 1) * threads + t;
    if (i + 1 < count) copy16(tiles + (i + 1) % 2 * threads + t, in + next, next * 4 < p.size);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    const float4 v = tiles[i % 2 * threads + (t + 1) % threads];
    sum += v.x + v.y + v.z + v.w;
    __syncthreads();
  }
  p.out[t] = sum;
}

// Each block hands its number to the next of its cluster.
DEVICE void neighbours(const Arguments& p) {
  SHARED(memory);
  float4* box = (float4*)memory;
  cluster_arrive();
  cluster_wait();
  const u32 rank = cluster_rank();
  if (threadIdx.x == 0) {
    const float v = p.in[blockIdx.x];
    store_remote(box, (rank + 1) % MAMBATS_CLUSTER, make_float4(v, v, v, v));
  }
  cluster_arrive();
  cluster_wait();
  if (threadIdx.x == 0) p.out[blockIdx.x] = box->w;
}

// Every pattern of bf16 and fp16 to fp32; fp32 to both.
DEVICE void conversions(const Arguments& p) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < 65536) {
    p.out[i] = wide(bf16{(u16)i});
    p.out[65536 + i] = wide(fp16{(u16)i});
  }
  if (i >= p.size) return;
  narrow(((bf16*)p.bits)[i], p.in[i]);
  narrow(((fp16*)p.bits)[p.size + i], p.in[i]);
}

KERNEL right(PARAMETER Arguments p) {
  if (p.task == 0) exchanges(p);
  if (p.task == 1) products(p);
  if (p.task == 2) ring(p);
  if (p.task == 3) neighbours(p);
  if (p.task == 4) conversions(p);
}
