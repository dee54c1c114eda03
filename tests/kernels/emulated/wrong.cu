// Kernels that do what they may not, one for each number `task`; test_wrong.py holds what the emulator says of them.
struct Arguments {
  const float* in;  // 64 numbers a block
  float* out;       // 64 numbers
  const float* absent;
  int task;
};

KERNEL wrong(PARAMETER Arguments p) {
  SHARED(memory);
  float* s = (float*)memory;  // 64 floats
  const int t = threadIdx.x, other = 63 - t;
  switch (p.task) {
    case 0:  // right: the others are this one with a mistake
      s[t] = p.in[t];
      __syncthreads();
      p.out[t] = s[other];
      break;
    case 1:  // no barrier between a write and another's read
      s[t] = p.in[t];
      p.out[t] = s[other];
      break;
    case 2:  // nor between a read and another's write
      s[t] = p.in[t];
      __syncthreads();
      p.out[t] = s[other];
      s[t] = 0.f;
      break;
    case 3:  // all threads write to one place
      s[0] = p.in[t];
      break;
    case 4:  // blocks write to one place
      p.out[t] = p.in[t];
      break;
    case 5:  // behind the end of shared memory
      s[t + 1] = p.in[t];
      break;
    case 6:  // behind the end of a tensor
      p.out[t] = p.in[t + 1];
      break;
    case 7:  // before its start
      p.out[t - 1] = p.in[t];
      break;
    case 8:  // a copy that nobody waits for
      copy4(s + t, p.in + t, true);
      commit_copies();
      p.out[t] = s[t];
      break;
    case 9:  // a copy waited for, but not by the others
      copy4(s + t, p.in + t, true);
      commit_copies();
      wait_copies<0>();
      p.out[t] = s[other];
      break;
    case 10:  // a copy that is not committed
      copy4(s + t, p.in + t, true);
      wait_copies<0>();
      p.out[t] = s[t];
      break;
    case 11:  // a copy past the end of a tensor
      copy4(s + t, p.in + t + 1, true);
      break;
    case 12:  // a copy that is not aligned
      if (t == 5) copy16(s + t, p.in, true);
      break;
    case 13:  // half a warp exchanges
      if (t % 32 < 16) p.out[t] = exchange(p.in[t], 1);
      break;
    case 14:  // the halves of a warp exchange apart
      if (t % 32 < 16) p.out[t] = exchange(p.in[t], 1);
      else p.out[t] = exchange(p.in[t], 2);
      break;
    case 15:  // one waits for the block, the others in the warp
      if (t == 40) __syncthreads();
      else __syncwarp();
      break;
    case 16:  // two barriers
      if (t < 32) __syncthreads();
      else __syncthreads();
      break;
    case 17:  // four floats where two are aligned
      *(float4*)(s + 2) = *(const float4*)p.in;
      break;
    case 18: {  // behind the end of an array in registers
      float v[4] = {1.f, 2.f, 3.f, 4.f};
      p.out[t] = v[t];
      break;
    }
    case 19:  // shared memory that nobody wrote
      p.out[t] = s[t];
      break;
    case 20:  // an absent argument
      p.out[t] = p.absent[t];
      break;
    case 21:  // a barrier of the cluster half used
      cluster_wait();
      break;
    case 22:  // nobody waited until the other block is there
      store_remote((float4*)s, 1 - cluster_rank(), make_float4(0.f, 0.f, 0.f, 0.f));
      break;
    case 23:  // read before the barrier that follows the push
      cluster_arrive();
      cluster_wait();
      if (t == 0) store_remote((float4*)s, 1 - cluster_rank(), make_float4(0.f, 0.f, 0.f, 0.f));
      cluster_arrive();
      if (t == 0) p.out[blockIdx.x] = s[0];
      cluster_wait();
      break;
    case 24:  // the other block may be gone
      cluster_arrive();
      cluster_wait();
      if (cluster_rank() == 0) return;
      __syncthreads();
      if (t == 0) store_remote((float4*)s, 0, make_float4(0.f, 0.f, 0.f, 0.f));
      break;
  }
}
