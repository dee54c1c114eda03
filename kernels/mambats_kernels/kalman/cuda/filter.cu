// Kalman filters: LANES threads share one filter, thread c the columns c, c + LANES, ... of its matrices, which lie in shared
// memory. Filters of a warp go through the same steps, so that its barriers are met by all.
// Defined by the host: REAL (float or double), STATES n, MEASURED m (0: predict only), PREDICTS (0 or 1), LANES, THREADS,
// EPSILON and LEAST of REAL.
typedef REAL real;
#define N STATES
#define M MEASURED
#define M1 (M ? M : 1)  // no array of no cells

struct Arguments {
  const real *x, *p, *z, *f, *q, *h, *r;
  const real* gate;           // (m + 1) or null
  const unsigned char* mask;  // (rows) or null
  real *mean, *covariance, *residual, *innovation, *nis, *likelihood;
  unsigned char* used;
  int each_f, each_q, each_h, each_r;  // numbers from one row's matrix to the next, 0 if all rows share one
  int rows;
};

struct Place {
  real p[N * N], t[N * N], factor[N * N];
  real seen[M1 * N], gain[M1 * N], rest[M1 * N];
  real s[M1 * M1], l[M1 * M1];
  real x[N], moved[N], residual[M1], known[M1];
};

#define COLUMNS(c, size) for (int c = lane; c < (size); c += LANES)

DEVICE real least_pivot(real diagonal, int n) {
  real share = diagonal * (4 * n * (real)EPSILON);
  return share < (real)LEAST ? (real)LEAST : share;
}

// Factors a symmetric matrix as L D L', with D on the diagonal and L' above it; gives whether a pivot may be lost.
template <int SIZE> DEVICE bool factorise(const real* matrix, real* factor, int lane) {
  bool lost = false;
  COLUMNS(c, SIZE) for (int i = 0; i <= c; i++) factor[i * SIZE + c] = matrix[i * SIZE + c];
  __syncwarp();
  for (int j = 0; j < SIZE; j++) {
    const real pivot = factor[j * SIZE + j];
    lost = lost || !(pivot >= 250 * least_pivot(matrix[j * SIZE + j], SIZE));
    const real inverse = 1 / pivot;
    COLUMNS(c, SIZE) if (c > j) {
      const real share = factor[j * SIZE + c] * inverse;
      for (int i = j + 1; i <= c; i++) factor[i * SIZE + c] -= factor[j * SIZE + i] * share;
    }
    __syncwarp();
    COLUMNS(c, SIZE) if (c > j) factor[j * SIZE + c] *= inverse;
    __syncwarp();
  }
  return lost;
}

// Adds to the diagonal, if `lost`, what keeps every pivot: see native/filters.h, which does the same.
template <int SIZE> DEVICE void mend(real* matrix, real* left, bool lost, int lane) {
  COLUMNS(c, SIZE) for (int i = 0; i <= c; i++) left[i * SIZE + c] = matrix[i * SIZE + c];
  __syncwarp();
  for (int j = 0; j < SIZE; j++) {
    const real pivot = left[j * SIZE + j], floor = least_pivot(matrix[j * SIZE + j], SIZE);
    real raised = pivot > floor ? pivot : floor;
    for (int i = j + 1; i < SIZE; i++) {
      const real other = least_pivot(matrix[i * SIZE + i], SIZE), over = left[i * SIZE + i] - other;
      const real needed = left[j * SIZE + i] * left[j * SIZE + i] / (over > other ? over : other);
      raised = raised > needed ? raised : needed;
    }
    __syncwarp();
    if (lost && lane == 0) matrix[j * SIZE + j] += raised - pivot + floor;
    const real inverse = 1 / raised;
    COLUMNS(c, SIZE) if (c > j) {
      const real share = left[j * SIZE + c] * inverse;
      for (int i = j + 1; i <= c; i++) left[i * SIZE + c] -= left[j * SIZE + i] * share;
    }
    __syncwarp();
  }
}

// Factors a matrix, after putting right what rounding made of it.
template <int SIZE> DEVICE void secure(real* matrix, real* factor, int lane) {
  const bool lost = factorise<SIZE>(matrix, factor, lane);
  if (!__any_sync(0xffffffffu, lost)) return;
  mend<SIZE>(matrix, factor, lost, lane);
  factorise<SIZE>(matrix, factor, lane);
}

DEVICE real dot_row(const real* row, const real* cells, int count) {
  real sum = 0;
  for (int k = 0; k < count; k++) sum += row[k] * cells[k];
  return sum;
}

DEVICE void predict(Place& a, const real* f, const real* q, int lane) {
  COLUMNS(c, N) {
    real column[N];
#pragma unroll
    for (int k = 0; k < N; k++) column[k] = a.p[k * N + c];
    for (int i = 0; i < N; i++) a.t[i * N + c] = dot_row(f + i * N, column, N);
    a.moved[c] = dot_row(f + c * N, a.x, N);
  }
  __syncwarp();
  COLUMNS(c, N) {
    a.x[c] = a.moved[c];
    for (int i = 0; i <= c; i++) a.p[i * N + c] = a.p[c * N + i] = dot_row(f + c * N, a.t + i * N, N) + q[i * N + c];
  }
  __syncwarp();
  secure<N>(a.p, a.factor, lane);
}

#if M
// Residuals, H P and its covariance S; what was not measured says nothing.
DEVICE void look(Place& a, const real* z, const real* h, const real* r, bool on, int lane) {
  COLUMNS(i, M) {
    const real value = on ? z[i] : 0, off = value - value;
    a.known[i] = on && off == 0 ? 1 : 0;
    a.residual[i] = a.known[i] > 0 ? value - dot_row(h + i * N, a.x, N) : 0;
  }
  __syncwarp();
  COLUMNS(c, N) {
    real column[N];
#pragma unroll
    for (int k = 0; k < N; k++) column[k] = a.p[k * N + c];
    for (int i = 0; i < M; i++) a.seen[i * N + c] = a.known[i] > 0 ? dot_row(h + i * N, column, N) : 0;
  }
  __syncwarp();
  COLUMNS(j, M) for (int i = 0; i <= j; i++) {
    real cell = dot_row(h + j * N, a.seen + i * N, N) + r[i * M + j];
    if (!(a.known[i] * a.known[j] > 0)) cell = i == j ? 1 : 0;
    a.s[i * M + j] = a.s[j * M + i] = cell;
  }
  __syncwarp();
}

// Normalised innovation squared and log likelihood, the same in every thread of a filter; gives whether it is used.
DEVICE bool judge(const Arguments& p, const Place& a, real& nis, real& likelihood) {
  real white[M], log_root = 0, measured = 0;
  nis = 0;
#pragma unroll
  for (int i = 0; i < M; i++) {
    white[i] = a.residual[i];
#pragma unroll
    for (int j = 0; j < i; j++) white[i] -= a.l[j * M + i] * white[j];
    nis += white[i] * white[i] / a.l[i * M + i];
    log_root += log(a.l[i * M + i]);
    measured += a.known[i];
  }
  likelihood = (real)-0.5 * (nis + measured * (real)1.8378770664093453 + log_root);
  return measured > 0 && (!p.gate || nis <= p.gate[(int)measured]);
}

// gain' = S^-1 H P by the factors of S, column by column.
DEVICE void solve(Place& a, int lane) {
  COLUMNS(c, N) {
    real cells[M];
#pragma unroll
    for (int i = 0; i < M; i++) {
      cells[i] = a.seen[i * N + c];
#pragma unroll
      for (int j = 0; j < i; j++) cells[i] -= a.l[j * M + i] * cells[j];
    }
#pragma unroll
    for (int i = M - 1; i >= 0; i--) {
      cells[i] /= a.l[i * M + i];
#pragma unroll
      for (int j = i + 1; j < M; j++) cells[i] -= a.l[i * M + j] * cells[j];
      a.gain[i * N + c] = cells[i];
    }
  }
  __syncwarp();
}

// Joseph's (I - K H) P (I - K H)' + K R K' is left + (K R - left H') K', for left = P - K H P; it comes to stand in t.
DEVICE void join(Place& a, const real* h, const real* r, int lane) {
  COLUMNS(c, N) {
    real cells[M];
#pragma unroll
    for (int k = 0; k < M; k++) cells[k] = a.seen[k * N + c];
    for (int i = 0; i < N; i++) {
      real sum = a.p[i * N + c];
#pragma unroll
      for (int k = 0; k < M; k++) sum -= a.gain[k * N + i] * cells[k];
      a.t[i * N + c] = sum;
    }
  }
  __syncwarp();
  COLUMNS(c, N) {
    real cells[M];
#pragma unroll
    for (int k = 0; k < M; k++) cells[k] = a.gain[k * N + c];
    for (int j = 0; j < M; j++) a.rest[j * N + c] = dot_row(r + j * M, cells, M) - dot_row(h + j * N, a.t + c * N, N);
  }
  __syncwarp();
  COLUMNS(c, N) {
    real cells[M];
#pragma unroll
    for (int k = 0; k < M; k++) cells[k] = a.gain[k * N + c];
    for (int i = 0; i <= c; i++) {
      real sum = a.t[i * N + c];
#pragma unroll
      for (int k = 0; k < M; k++) sum += a.rest[k * N + i] * cells[k];
      a.t[i * N + c] = sum;
    }
  }
  __syncwarp();
  secure<N>(a.t, a.factor, lane);
}

DEVICE void update(const Arguments& p, Place& a, int row, bool there, int lane) {
  const real* h = p.h + (i64)row * p.each_h;
  const real* r = p.r + (i64)row * p.each_r;
  look(a, p.z + (i64)row * M, h, r, !p.mask || p.mask[row], lane);
  secure<M>(a.s, a.l, lane);
  real nis, likelihood;
  const bool used = judge(p, a, nis, likelihood);
  solve(a, lane);
  join(a, h, r, lane);
  COLUMNS(c, N) if (used) {
    for (int i = 0; i <= c; i++) a.p[i * N + c] = a.p[c * N + i] = a.t[i * N + c];
    for (int k = 0; k < M; k++) a.x[c] += a.gain[k * N + c] * a.residual[k];
  }
  __syncwarp();
  if (!there) return;
  if (lane == 0) p.nis[row] = nis, p.likelihood[row] = likelihood, p.used[row] = used;
  COLUMNS(i, M) p.residual[(i64)row * M + i] = a.residual[i];
  COLUMNS(i, M * M) p.innovation[(i64)row * M * M + i] = a.s[i];
}
#endif

KERNEL BOUNDS(THREADS, 1) kalman_filter(PARAMETER Arguments p) {
  SHARED(memory);
  const int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  const i64 job = (i64)blockIdx.x * (THREADS / LANES) + group;
  const bool there = job < p.rows;
  const int row = there ? (int)job : p.rows - 1;
  Place& a = ((Place*)memory)[group];
  COLUMNS(i, N) a.x[i] = p.x[(i64)row * N + i];
  COLUMNS(i, N * N) a.p[i] = p.p[(i64)row * N * N + i];
  __syncwarp();
#if PREDICTS
  predict(a, p.f + (i64)row * p.each_f, p.q + (i64)row * p.each_q, lane);
#endif
#if M
  update(p, a, row, there, lane);
#else
  if (p.mask && !p.mask[row]) {  // this filter stays as it was
    COLUMNS(i, N) a.x[i] = p.x[(i64)row * N + i];
    COLUMNS(i, N * N) a.p[i] = p.p[(i64)row * N * N + i];
  }
  __syncwarp();
#endif
  if (!there) return;
  COLUMNS(i, N) p.mean[(i64)row * N + i] = a.x[i];
  COLUMNS(i, N * N) p.covariance[(i64)row * N * N + i] = a.p[i];
}
