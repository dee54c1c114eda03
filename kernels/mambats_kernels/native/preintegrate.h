// Preintegration of inertial samples, one interval a lane. Errors are kept in the first frame, where a turn's error stays
// what it is and only velocity and position move with it: v' = v - g x e, p' = p + dt (v - g x e / 2), for a gain g of
// velocity. So a sample is half a kick, a drift and half a kick, and few of the 9 x 9 cells need work.
// Source: Forster, Carlone, Dellaert, Scaramuzza, IEEE TRO 2017, eq. 35 and A.7-A.9.
#pragma once
#include "imu.h"
#include "turn.h"

namespace MAMBATS_ISA {

constexpr int IMU_CHUNK = 16;  // samples that are turned to lanes at once: 7 columns of them stay in the first cache

template <class Real>
struct Interval {
    using V = typename Lanes<Real>::V;
    V time{}, arm{}, arms{};           // sums of dt, of dt times what is left from a sample's middle on, and of its square
    V q[4] = {V{}, V{}, V{}, V{} + 1};
    Three<V> v{}, p{};
    Matrix<V> cc{}, vc{}, pc{}, vv{}, pv{}, pp{};  // covariance of turn c, velocity v, position p by the gyroscope's noise
    Matrix<V> cg{}, vg{}, pg{}, va{}, pa{};        // by the biases of gyroscope and accelerometer

    // Turns half of a gain of velocity with the error of the attitude.
    void kick(const Three<V> &h) {
        const Matrix<V> turned = crossed(h, cc);
        Matrix<V> middle;
        for (int i = 0; i < 3; ++i) {
            middle.row[i] = vc.row[i];
            middle.row[i] -= turned.row[i] * (V{} + Real(0.5));
            vc.row[i] -= turned.row[i];
            pv.row[i] += cross(pc.row[i], h);
        }
        Three<V> made[3];
        for (int j = 0; j < 3; ++j) made[j] = cross(h, middle.row[j]);
        for (int i = 0; i < 3; ++i)
            for (int j = i; j < 3; ++j) vv.row[j].of[i] = vv.row[i].of[j] -= made[j].of[i] + made[i].of[j];
        const Matrix<V> bent = crossed(h, cg);
        for (int i = 0; i < 3; ++i) vg.row[i] -= bent.row[i];
    }

    void drift(V dt) {
        for (int i = 0; i < 3; ++i) {
            pc.row[i] += vc.row[i] * dt;
            pg.row[i] += vg.row[i] * dt;
        }
        const Matrix<V> before = pv;
        for (int i = 0; i < 3; ++i) pv.row[i] += vv.row[i] * dt;
        for (int i = 0; i < 3; ++i)
            for (int j = i; j < 3; ++j) pp.row[i].of[j] += dt * (before.row[i].of[j] + pv.row[j].of[i]);
    }

    // What this sample's own errors add: M = R J dt with J = ratio cos + ratio^2 / 2 hat + bend theta theta^T, and
    // M M^T / dt = sigma^2 dt + mu (1 + sigma) dt theta' theta'^T.
    void disturb(const Matrix<V> &frame, const Three<V> &angle, const Turn<V> &turn, V dt) {
        const Three<V> turned = frame * angle;
        const Three<V> along = turned * (dt * turn.mu * (turn.ratio + Real(1)));
        const V even = dt * turn.ratio * turn.ratio, straight = dt * turn.ratio * turn.cosine, side = even * Real(0.5);
        const Three<V> bend = angle * (dt * (turn.mu + turn.ratio * turn.fall));
        const V half = dt * Real(0.5);
        for (int i = 0; i < 3; ++i) {
            cc.row[i] += turned * along.of[i];
            cc.row[i].of[i] += even;
            const Three<V> beside = cross(frame.row[i], angle);
            cg.row[i] -= frame.row[i] * straight;
            cg.row[i] -= beside * side;
            cg.row[i] -= bend * turned.of[i];
            va.row[i] -= frame.row[i] * half;
            pa.row[i] += va.row[i] * dt;
            va.row[i] -= frame.row[i] * half;
        }
        arms += dt * (arm + arm + dt * (time + dt * Real(0.25)));
        arm += dt * (time + dt * Real(0.5));
    }

    template <bool ERRORS>
    void step(const Three<V> &rate, const Three<V> &force, V dt) {
        const Three<V> angle = rate * dt;
        const Turn<V> turn = half_turn<Real>(dot(angle, angle));
        const Matrix<V> frame = matrix(q);
        const Three<V> gain = frame * (force * dt), half = gain * (V{} + Real(0.5));
        if (ERRORS) {
            kick(half);
            drift(dt);
            kick(half);
            disturb(frame, angle, turn, dt);
        }
        time += dt;
        v += half;
        p += v * dt;
        v += half;
        const Three<V> d = angle * (turn.ratio * Real(0.5));
        const V w = turn.cosine, x0 = q[0], y0 = q[1], z0 = q[2], w0 = q[3];
        q[0] = w0 * d.of[0] + x0 * w + y0 * d.of[2] - z0 * d.of[1];
        q[1] = w0 * d.of[1] + y0 * w + z0 * d.of[0] - x0 * d.of[2];
        q[2] = w0 * d.of[2] + z0 * w + x0 * d.of[1] - y0 * d.of[0];
        q[3] = w0 * w - x0 * d.of[0] - y0 * d.of[1] - z0 * d.of[2];
        // Rounding alone moves the norm: one step of Newton's holds it.
        const V norm = Real(1.5) - Real(0.5) * (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
        for (int i = 0; i < 4; ++i) q[i] *= norm;
    }
};

// Lane by lane to rows of `each` cells.
template <class Real, class V>
static void spread(void *to, const V *cells, int64_t each, int64_t first, int64_t count) {
    Real *row = static_cast<Real *>(to) + first * each;
    const Real *from = reinterpret_cast<const Real *>(cells);
    for (int64_t k = 0; k < count; ++k)
        for (int64_t i = 0; i < each; ++i) row[k * each + i] = from[i * Lanes<Real>::COUNT + k];
}

// The errors of the turn go back to the last frame, where e is on the right: R^T e.
template <class Real, class V = typename Lanes<Real>::V>
static void tell_errors(const MambatsImu &s, const Interval<Real> &m, int64_t first, int64_t count) {
    const Matrix<V> end = matrix(m.q);
    const Real gyro = Real(s.gyro), force = Real(s.force), integration = Real(s.integration);
    V jacobian[9][6] = {}, covariance[9][9];
    auto put = [&](int i, int j, V cell) { covariance[i][j] = covariance[j][i] = cell * gyro; };
    Matrix<V> half{};  // cc R
    for (int i = 0; i < 3; ++i)
        for (int k = 0; k < 3; ++k) half.row[i] += end.row[k] * m.cc.row[i].of[k];
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
            V back{}, turn{}, speed{}, place{};
            for (int k = 0; k < 3; ++k) {
                turn += end.row[k].of[i] * half.row[k].of[j];
                back += end.row[k].of[i] * m.cg.row[k].of[j];
                speed += m.vc.row[i].of[k] * end.row[k].of[j];
                place += m.pc.row[i].of[k] * end.row[k].of[j];
            }
            if (j >= i) put(i, j, turn);
            put(3 + i, j, speed);
            put(6 + i, j, place);
            if (j >= i) put(3 + i, 3 + j, m.vv.row[i].of[j]), put(6 + i, 6 + j, m.pp.row[i].of[j]);
            put(6 + i, 3 + j, m.pv.row[i].of[j]);
            jacobian[i][j] = back;
            jacobian[3 + i][j] = m.vg.row[i].of[j], jacobian[6 + i][j] = m.pg.row[i].of[j];
            jacobian[3 + i][3 + j] = m.va.row[i].of[j], jacobian[6 + i][3 + j] = m.pa.row[i].of[j];
        }
    for (int i = 3; i < 6; ++i) {
        covariance[i][i] += m.time * force;
        covariance[i + 3][i] = covariance[i][i + 3] += m.arm * force;
        covariance[i + 3][i + 3] += m.arms * force + m.time * integration;
    }
    spread<Real>(s.jacobian, &jacobian[0][0], 54, first, count);
    spread<Real>(s.covariance, &covariance[0][0], 81, first, count);
}

template <class Real, bool ERRORS, class V = typename Lanes<Real>::V>
static void imu_walk(const MambatsImu &s, int64_t first, V (*lanes)[7]) {
    constexpr int64_t COUNT = Lanes<Real>::COUNT;
    const int64_t count = s.rows - first < COUNT ? s.rows - first : COUNT;
    const Real *bias = static_cast<const Real *>(s.bias) + first * 6;
    V offset[6] = {};
    for (int64_t k = 0; k < count; ++k)
        for (int i = 0; i < 6; ++i) offset[i][k] = bias[k * 6 + i];
    Interval<Real> m;
    memset((void *)lanes, 0, sizeof(V) * 7 * IMU_CHUNK);  // lanes without an interval stand still
    for (int64_t begin = 0; begin < s.samples; begin += IMU_CHUNK) {
        const int64_t size = s.samples - begin < IMU_CHUNK ? s.samples - begin : IMU_CHUNK;
        for (int64_t k = 0; k < count; ++k) {
            const int64_t at = (first + k) * s.samples + begin;
            const Real *rates = static_cast<const Real *>(s.rates) + at * 3;
            const Real *forces = static_cast<const Real *>(s.forces) + at * 3;
            const Real *dt = static_cast<const Real *>(s.steps) + at;
            Real *to = reinterpret_cast<Real *>(lanes) + k;
            for (int64_t t = 0; t < size; ++t, to += 7 * COUNT) {
                for (int i = 0; i < 3; ++i) to[i * COUNT] = rates[t * 3 + i], to[(3 + i) * COUNT] = forces[t * 3 + i];
                to[6 * COUNT] = dt[t];
            }
        }
        for (int64_t t = 0; t < size; ++t) {
            const V *c = lanes[t];
            m.template step<ERRORS>({{c[0] - offset[0], c[1] - offset[1], c[2] - offset[2]}},
                                    {{c[3] - offset[3], c[4] - offset[4], c[5] - offset[5]}}, c[6]);
        }
    }
    spread<Real>(s.duration, &m.time, 1, first, count);
    spread<Real>(s.quaternion, m.q, 4, first, count);
    spread<Real>(s.velocity, m.v.of, 3, first, count);
    spread<Real>(s.position, m.p.of, 3, first, count);
    if (ERRORS) tell_errors<Real>(s, m, first, count);
}

static int64_t imu_lanes(const MambatsImu &s) { return s.wide ? Lanes<double>::COUNT : Lanes<float>::COUNT; }

static int64_t imu_scratch() { return IMU_CHUNK * 7 * W; }

static void imu_tile(const MambatsImu &s, int64_t first, float *scratch) {
    auto *narrow = reinterpret_cast<Lanes<float>::V(*)[7]>(scratch);
    auto *wide = reinterpret_cast<Lanes<double>::V(*)[7]>(scratch);
    if (s.wide) s.errors ? imu_walk<double, true>(s, first, wide) : imu_walk<double, false>(s, first, wide);
    else s.errors ? imu_walk<float, true>(s, first, narrow) : imu_walk<float, false>(s, first, narrow);
}

}  // namespace MAMBATS_ISA
