// The convolution's host side: cuts rows into pieces, runs them on threads, adds up the filters' gradients.
#include "kernels.h"
#include "work.h"

using namespace mambats;

namespace {

constexpr int64_t PIECE = 128;               // tokens: what 16 channels of them need stays in the first cache
constexpr int64_t BLOCKS = 32;               // fixed: results must not depend on the number of threads
constexpr int64_t WORTH_A_THREAD = 1 << 17;  // outputs: a tenth of a millisecond or more

// Goes through the rows in order: each(row, begin, end) of its tokens. Borders are made to lie in order within the tokens,
// whatever they were: a bad one may give a wrong row, never a fault.
template <class Each>
void over_rows(const MambatsConv &s, const Each &each) {
    int64_t begin = s.borders ? std::clamp<int64_t>(s.borders[0], 0, s.tokens) : 0;
    for (int64_t r = 0; r < s.rows; ++r) {
        const int64_t end = s.borders ? std::clamp<int64_t>(s.borders[r + 1], begin, s.tokens) : begin + s.tokens;
        each(r, begin, end);
        begin = end;
    }
}

struct Pieces {
    int64_t count = 0, first = 0, last = 0;
    Buffer<MambatsConvPiece> list;

    static int64_t of_row(int64_t tokens) { return std::max<int64_t>(1, (tokens + PIECE - 1) / PIECE); }
    explicit Pieces(const MambatsConv &s) : list(s.rows + (s.borders ? 1 : s.rows) * of_row(s.tokens)) {
        if (!list.data) return;
        over_rows(s, [&](int64_t row, int64_t begin, int64_t end) {
            if (row == 0) first = begin;
            last = end;
            for (int64_t k = 0; k < of_row(end - begin); ++k)
                list.data[count++] = {row, begin, end, k * PIECE, std::min(end - begin, (k + 1) * PIECE)};
        });
    }
    int64_t blocks() const { return std::min(count, BLOCKS); }
    int64_t border(int64_t block) const { return block * count / blocks(); }
    const MambatsConvPiece *of(int64_t block) const { return list.data + border(block); }
    int64_t size(int64_t block) const { return border(block + 1) - border(block); }
};

int64_t threads(const MambatsConv &s) {
    const int64_t all = s.tokens * (s.borders ? 1 : s.rows) * s.width;
    return std::max<int64_t>(1, std::min(s.threads, all / WORTH_A_THREAD));
}

}  // namespace

// Both give 0, or 1 if memory was short.
MAMBATS_EXPORT int mambats_conv_forward(const MambatsConv *conv) {
    const MambatsConv &s = *conv;
    const Pieces pieces(s);
    if (!pieces.list.data) return 1;
    if (s.borders) zero_outside(s.y, s.tokens, pieces.first, pieces.last, s.width);
    const MambatsKernels &chosen = kernels();
    return on_threads(threads(s), pieces.blocks(), chosen.conv_scratch(s, PIECE, false), [&](int64_t block, float *scratch) {
        chosen.conv_forward(s, pieces.of(block), pieces.size(block), scratch);
    }) ? 0 : 1;
}

MAMBATS_EXPORT int mambats_conv_backward(const MambatsConv *conv) {
    const MambatsConv &s = *conv;
    const Pieces pieces(s);
    const int64_t filters = s.width * s.taps, each = filters + s.width;
    Buffer<float> sums(pieces.blocks() * each);
    if (!pieces.list.data || !sums.data) return 1;
    if (s.borders) zero_outside(s.dx, s.tokens, pieces.first, pieces.last, s.width);
    std::memset(sums.data, 0, sizeof(float) * pieces.blocks() * each);
    const MambatsKernels &chosen = kernels();
    const bool done = on_threads(
        threads(s), pieces.blocks(), chosen.conv_scratch(s, PIECE, true), [&](int64_t block, float *scratch) {
            float *own = sums.data + block * each;
            chosen.conv_backward(s, pieces.of(block), pieces.size(block), own, own + filters, scratch);
        });
    if (!done) return 1;
    std::memset(s.dweight, 0, sizeof(float) * filters);
    add_parts(s.dweight, sums.data, pieces.blocks(), each, 0, filters);
    if (!s.dbias) return 0;
    std::memset(s.dbias, 0, sizeof(float) * s.width);
    add_parts(s.dbias, sums.data + filters, pieces.blocks(), each, 0, s.width);
    return 0;
}

MAMBATS_EXPORT int mambats_conv_size() { return int(sizeof(MambatsConv)); }
