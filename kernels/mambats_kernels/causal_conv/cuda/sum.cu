// Sum the shares of dweight and dbias in order: 32 channels of one tap a block, the shares dealt to THREADS / 32 strands.
// Defined by the host: WEIGHT, TAPS, BIAS, THREADS.
#define STRANDS (THREADS / 32)

struct Arguments {
  const float* partial;  // (shares, TAPS + 1, width)
  WEIGHT* dweight;       // (width, TAPS)
  WEIGHT* dbias;
  int shares, width;
};

KERNEL BOUNDS(THREADS, 1) conv_sum(PARAMETER Arguments p) {
  SHARED(memory);
  float* sums = (float*)memory;
  int tap = blockIdx.x % (TAPS + BIAS), lane = threadIdx.x % 32, strand = threadIdx.x / 32;
  int channel = (int)(blockIdx.x / (TAPS + BIAS)) * 32 + lane;
  float sum = 0.f;
  if (channel < p.width) {
    const float* from = p.partial + (i64)tap * p.width + channel;
    i64 step = (i64)(TAPS + 1) * p.width;
#pragma unroll 8
    for (int share = strand; share < p.shares; share += STRANDS) sum += from[share * step];
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (strand > 0 || channel >= p.width) return;
  for (int k = 1; k < STRANDS; ++k) sum += sums[k * 32 + lane];
  if (tap < TAPS) narrow(p.dweight[(i64)channel * TAPS + tap], sum);
  else narrow(p.dbias[channel], sum);
}
