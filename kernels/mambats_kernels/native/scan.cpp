// The scan's host side: cuts the work into units, runs them on threads, adds up shared gradients.
#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {

constexpr int64_t BLOCKS = 32, UNITS = 16, SLAB = 16;  // fixed: results must not depend on the number of threads
constexpr int64_t WORTH_A_THREAD = 1 << 19;            // states times tokens: a fifth of a millisecond or more

struct Cut {
    int64_t rows, blocks, slabs, slab, channels, groups;
    int64_t units() const { return blocks * groups * slabs; }
    MambatsUnit unit(int64_t index) const {
        const int64_t part = index % slabs, group = index / slabs % groups, block = index / slabs / groups;
        MambatsUnit u{};
        u.first = block * rows / blocks, u.last = (block + 1) * rows / blocks;
        u.group = group, u.low = part * slab, u.high = std::min(channels, u.low + slab);
        return u;
    }
    int64_t part(int64_t index) const { return index % slabs; }
    int64_t block(int64_t index) const { return index / slabs / groups; }
};

Cut cut_work(const MambatsScan &s) {
    Cut c{};
    c.rows = s.rows, c.groups = s.groups, c.channels = s.width / s.groups, c.blocks = std::min(s.rows, BLOCKS);
    const int64_t wanted = std::max<int64_t>(1, UNITS / std::max<int64_t>(1, c.blocks * c.groups));
    const int64_t pieces = (c.channels + SLAB - 1) / SLAB;
    c.slab = (pieces + std::min(wanted, pieces) - 1) / std::min(wanted, pieces) * SLAB;
    c.slabs = (c.channels + c.slab - 1) / c.slab;
    return c;
}

// Borders are made to lie in order within the tokens, whatever they were: a bad one may give a wrong row, never a fault.
void find_rows(const MambatsScan &s, MambatsRow *rows) {
    const int64_t chunks = (s.tokens + s.chunk - 1) / s.chunk;
    int64_t begin = s.borders ? std::clamp<int64_t>(s.borders[0], 0, s.tokens) : 0;
    for (int64_t r = 0; r < s.rows; ++r) {
        if (!s.borders) {
            rows[r] = {r * s.tokens, (r + 1) * s.tokens, r * chunks};
            continue;
        }
        const int64_t end = std::clamp<int64_t>(s.borders[r + 1], begin, s.tokens);
        rows[r] = {begin, end, begin / s.chunk + r};
        begin = end;
    }
}

template <class Work>
bool run_units(const MambatsScan &s, const Cut &cut, bool backward, const Work &work) {
    const MambatsKernels &chosen = kernels();
    const int64_t all = s.tokens * (s.borders ? 1 : s.rows) * s.width * s.states;
    const int64_t threads = std::max<int64_t>(1, std::min(s.threads, all / WORTH_A_THREAD));
    return on_threads(threads, cut.units(), chosen.scan_scratch(s, cut.slab, backward),
                      [&](int64_t k, float *scratch) { work(chosen, k, scratch); });
}

}  // namespace

// Both give 0, or 1 if memory was short.
MAMBATS_EXPORT int mambats_scan_forward(const MambatsScan *scan) {
    const MambatsScan &s = *scan;
    Buffer<MambatsRow> rows(s.rows);
    if (!rows.data) return 1;
    find_rows(s, rows.data);
    if (s.borders) {
        const int64_t first = s.rows ? rows.data[0].begin : 0, last = s.rows ? rows.data[s.rows - 1].end : 0;
        zero_outside(s.y, s.tokens, first, last, s.width);
    }
    if (s.rows == 0) return 0;
    const Cut cut = cut_work(s);
    return run_units(s, cut, false, [&](const MambatsKernels &chosen, int64_t k, float *scratch) {
        chosen.scan_forward(s, rows.data, cut.unit(k), scratch);
    }) ? 0 : 1;
}

MAMBATS_EXPORT int mambats_scan_backward(const MambatsScan *scan) {
    const MambatsScan &s = *scan;
    Buffer<MambatsRow> rows(s.rows);
    if (!rows.data) return 1;
    find_rows(s, rows.data);
    const int64_t tokens = s.borders ? s.tokens : s.rows * s.tokens, weights = s.groups * s.states;
    const int64_t first = s.rows ? rows.data[0].begin : 0, last = s.rows ? rows.data[s.rows - 1].end : 0;
    for (float *tensor : {s.dx, s.ddt, s.dz}) zero_outside(tensor, tokens, first, last, s.width);
    for (float *tensor : {s.dB, s.dC}) zero_outside(tensor, tokens, first, last, weights);
    zero_outside(s.dgaps, tokens, first, last, 1);
    const int64_t size = s.width * s.states, each = size + 2 * s.width;
    std::memset(s.dA, 0, sizeof(float) * size);
    for (float *tensor : {s.dD, s.dbias})
        if (tensor) std::memset(tensor, 0, sizeof(float) * s.width);
    if (s.rows == 0) return 0;
    const Cut cut = cut_work(s);
    // The first slab writes where the sums belong, the others beside it.
    const int64_t others = cut.slabs - 1, shares = cut.slabs * cut.groups - 1;
    Buffer<float> db(others * tokens * weights), dc(others * tokens * weights);
    Buffer<float> dgaps(s.dgaps ? shares * tokens : 0), blocks(cut.blocks * each);
    if (!db.data || !dc.data || !dgaps.data || !blocks.data) return 1;
    const bool done = run_units(s, cut, true, [&](const MambatsKernels &chosen, int64_t k, float *scratch) {
        MambatsUnit u = cut.unit(k);
        const int64_t part = cut.part(k), share = u.group * cut.slabs + part;
        u.dB = part ? db.data + (part - 1) * tokens * weights : s.dB;
        u.dC = part ? dc.data + (part - 1) * tokens * weights : s.dC;
        if (s.dgaps) u.dgaps = share ? dgaps.data + (share - 1) * tokens : s.dgaps;
        u.dA = blocks.data + cut.block(k) * each, u.dD = u.dA + size, u.dbias = u.dD + s.width;
        chosen.scan_backward(s, rows.data, u, scratch);
    });
    if (!done) return 1;
    add_parts(s.dB, db.data, others, tokens * weights, first * weights, last * weights);
    add_parts(s.dC, dc.data, others, tokens * weights, first * weights, last * weights);
    if (s.dgaps) add_parts(s.dgaps, dgaps.data, shares, tokens, first, last);
    add_parts(s.dA, blocks.data, cut.blocks, each, 0, size);
    if (s.dD) add_parts(s.dD, blocks.data + size, cut.blocks, each, 0, s.width);
    if (s.dbias) add_parts(s.dbias, blocks.data + size + s.width, cut.blocks, each, 0, s.width);
    return 0;
}

// So that Python can refuse a library built from another version of the argument block.
MAMBATS_EXPORT int mambats_scan_size() { return int(sizeof(MambatsScan)); }
