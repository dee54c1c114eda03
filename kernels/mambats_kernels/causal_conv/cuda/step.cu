// One token of the causal convolution: a thread has one channel of one row.
// Defined by the host: INPUT (type of x and the state), WEIGHT (of weight and bias), THREADS.

struct Arguments {
  const INPUT* x;
  const WEIGHT* weight;         // (width, taps)
  const WEIGHT* bias;           // or null
  const INPUT* state;           // (batch, taps - 1, width)
  const unsigned char* mask;    // or null
  INPUT* y;
  INPUT* next;                  // as state
  i64 x_row, x_channel;
  int width, taps, columns, silu;
};

KERNEL BOUNDS(THREADS, 1) conv_step(PARAMETER Arguments p) {
  int row = blockIdx.x / p.columns, channel = (blockIdx.x - row * p.columns) * THREADS + threadIdx.x;
  if (channel >= p.width) return;
  int past = p.taps - 1;
  i64 held = (i64)row * past * p.width + channel;
  bool there = !p.mask || p.mask[row];
  INPUT now;
  narrow(now, 0.f);
  if (there) now = p.x[row * p.x_row + channel * p.x_channel];  // an absent row may hold NaN
  float sum = 0.f;
  for (int k = 0; k < past; ++k) {
    INPUT old = p.state[held + (i64)k * p.width];
    sum += wide(old) * wide(p.weight[(i64)channel * p.taps + k]);
    if (!there) p.next[held + (i64)k * p.width] = old;
    else if (k > 0) p.next[held + (i64)(k - 1) * p.width] = old;
  }
  if (there && past > 0) p.next[held + (i64)(past - 1) * p.width] = now;
  sum += wide(now) * wide(p.weight[(i64)channel * p.taps + past]);
  if (p.bias) sum += wide(p.bias[channel]);
  if (p.silu) sum = sum / (1.f + expf(-sum));
  narrow(p.y[(i64)row * p.width + channel], there ? sum : 0.f);
}
