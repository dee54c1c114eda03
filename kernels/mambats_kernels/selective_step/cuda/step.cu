// One token of the selective scan: LANES threads share the states of one channel of one row.
// Defined by the host: types X_TYPE, DT_TYPE, B_TYPE, C_TYPE, Z_TYPE, SKIP_TYPE (of D), BIAS_TYPE; LANES, THREADS;
// WIDE (0 or 1): states come in fours that start at multiples of 16 bytes.
#define EACH (WIDE ? 4 : 1)

struct Arguments {
  const X_TYPE* x;
  const DT_TYPE* dt;
  const float* rates;         // A (width, states)
  const B_TYPE* b;
  const C_TYPE* c;
  const SKIP_TYPE* skip;      // D, or null
  const Z_TYPE* z;            // or null
  const BIAS_TYPE* bias;      // or null
  const float* gap;           // (batch,) or null
  const unsigned char* mask;  // (batch,) or null
  const float* state;         // (batch, width, states)
  X_TYPE* y;
  float* next;                // as state
  i64 x_row, x_channel, dt_row, dt_channel, z_row, z_channel;
  i64 b_row, b_group, b_state, c_row, c_group, c_state;
  u32 jobs;                   // batch * width
  int width, states, repeat;  // repeat: channels of a group
  int softplus, hold;
};

struct Run {
  float v[EACH];
};

DEVICE Run read(const float* from) {
  Run run;
#if WIDE
  float4 four = *(const float4*)from;
  run.v[0] = four.x, run.v[1] = four.y, run.v[2] = four.z, run.v[3] = four.w;
#else
  run.v[0] = *from;
#endif
  return run;
}

DEVICE void write(float* to, Run run) {
#if WIDE
  *(float4*)to = make_float4(run.v[0], run.v[1], run.v[2], run.v[3]);
#else
  *to = run.v[0];
#endif
}

// What the input weighs: delta for an event, expm1(span a) / a for one held over the gap.
DEVICE float weigh(const Arguments& p, float delta, float span, float a) {
  if (!p.hold) return delta;
  float z = span * a;
  return z == 0.f ? span : span * (expm1f(z) / z);
}

// h <- exp(span a) h + weight x b over this thread's states of a channel; gives its part of the sum of c h.
DEVICE float advance(const Arguments& p, u32 job, u32 row, u32 channel, int lane, float x, float delta, float span) {
  int group = channel / p.repeat;
  const B_TYPE* b = p.b + row * p.b_row + group * p.b_group;
  const C_TYPE* c = p.c + row * p.c_row + group * p.c_group;
  i64 rates = (i64)channel * p.states, held = (i64)job * p.states;
  float sum = 0.f;
  for (int n = lane * EACH; n < p.states; n += LANES * EACH) {
    Run a = read(p.rates + rates + n), h = read(p.state + held + n);
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
      float weight = weigh(p, delta, span, a.v[i]) * x;
      h.v[i] = expf(span * a.v[i]) * h.v[i] + weight * wide(b[(n + i) * p.b_state]);
      sum += h.v[i] * wide(c[(n + i) * p.c_state]);
    }
    write(p.next + held + n, h);
  }
  return sum;
}

DEVICE void keep(const Arguments& p, u32 job, int lane) {
  i64 held = (i64)job * p.states;
  for (int n = lane * EACH; n < p.states; n += LANES * EACH) write(p.next + held + n, read(p.state + held + n));
}

KERNEL BOUNDS(THREADS, 1) scan_step(PARAMETER Arguments p) {
  int lane = threadIdx.x % LANES;
  u32 job = blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES;
  bool there = job < p.jobs;
  u32 row = there ? job / p.width : 0, channel = there ? job - row * p.width : 0;
  bool on = there && (!p.mask || p.mask[row]);  // an absent row may hold NaN
  float x = 0.f, sum = 0.f;
  if (on) {
    x = wide(p.x[row * p.x_row + channel * p.x_channel]);
    float delta = wide(p.dt[row * p.dt_row + channel * p.dt_channel]);
    if (p.bias) delta += wide(p.bias[channel]);
    if (p.softplus) delta = delta > 20.f ? delta : log1pf(expf(delta));
    sum = advance(p, job, row, channel, lane, x, delta, p.gap ? delta * p.gap[row] : delta);
  } else if (there) {
    keep(p, job, lane);
  }
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) sum += exchange(sum, step);
  if (!there || lane > 0) return;
  if (on && p.skip) sum += wide(p.skip[channel]) * x;
  if (on && p.z) {
    float z = wide(p.z[row * p.z_row + channel * p.z_channel]);
    sum *= z / (1.f + expf(-z));
  }
  narrow(p.y[job], sum);
}
