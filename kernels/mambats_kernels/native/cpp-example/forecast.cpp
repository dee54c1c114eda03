// Forecast from rows of numbers with a bundle of mambats: what a ROS 2 node in C++ does in its callback.
//
//     ./forecast BUNDLE/native.bin < rows.txt     each row: nanoseconds since 1970, then a value a column, nan where not measured
//
// Prints, for each row, its stamp and the forecast after it, (horizon, channels[, levels]) flattened: the numbers of
// `mambats run --bundle BUNDLE`. CMakeLists.txt beside this file builds it. Nothing is allocated between two rows but by
// the reading of text.
#include <cstdio>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "mambats.h"

// One model and the state of one robot. Not for two threads at once; take one for each.
class Forecaster {
  public:
    explicit Forecaster(const char *path) {
        char why[200];
        if (mambats_format() != MAMBATS_FORMAT) throw std::runtime_error("the library is of another version");
        model = mambats_open(path, why, sizeof why);
        if (!model) throw std::runtime_error(std::string(path) + ": " + why);
        mambats_facts(model, &facts);
        const size_t words = size_t(mambats_state_bytes(model, 1) + 7) / 8;
        for (auto &state : states) state.resize(words);
        forecast.resize(size_t(facts.horizon * facts.channels * (facts.levels ? facts.levels : 1)));
        reset();
    }
    ~Forecaster() { mambats_close(model); }
    Forecaster(const Forecaster &) = delete;
    Forecaster &operator=(const Forecaster &) = delete;

    // Forget all rows.
    void reset() {
        mambats_start(model, 1, states[now].data());
        last = 0;
    }

    size_t columns() const { return size_t(facts.channels + facts.past); }

    // Take a row; NaN is not measured. Stamps must not fall. The answer is overwritten by the next row's.
    const std::vector<float> &push(int64_t stamp_ns, const float *values) {
        const int64_t elapsed = last ? stamp_ns - last : 0;
        if (elapsed < 0) throw std::runtime_error("a row is older than the one before: order them first");
        MambatsMoment moment = {};
        moment.rows = 1;
        moment.values = values;
        moment.stamp_ns = &stamp_ns;
        moment.elapsed_ns = &elapsed;
        moment.before = states[now].data();
        moment.after = states[1 - now].data();
        moment.forecast = forecast.data();
        if (mambats_step(model, &moment)) throw std::runtime_error("the step found no memory");
        now = 1 - now;  // the state before is kept until the next row: going back one is free
        last = stamp_ns;
        return forecast;
    }

  private:
    MambatsModel *model = nullptr;
    MambatsFacts facts = {};
    std::vector<int64_t> states[2];  // of 8 bytes, for its alignment
    std::vector<float> forecast;
    int64_t last = 0;
    int now = 0;
};

int main(int count, char **words) try {
    if (count != 2) throw std::runtime_error("usage: forecast BUNDLE/native.bin < rows");
    Forecaster forecaster(words[1]);
    std::vector<float> row(forecaster.columns());
    for (std::string line; std::getline(std::cin, line);) {
        std::stringstream cells(line);
        std::string cell;
        cells >> cell;
        const int64_t stamp = std::stoll(cell);
        size_t found = 0;
        for (; cells >> cell; ++found)
            if (found < row.size()) row[found] = std::stof(cell);
        if (found != row.size())
            throw std::runtime_error("a row has " + std::to_string(found) + " values, need " + std::to_string(row.size()));
        std::printf("%s", std::to_string(stamp).c_str());
        for (float number : forecaster.push(stamp, row.data())) std::printf(" %.9g", double(number));
        std::printf("\n");
    }
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "forecast: %s\n", error.what());
    return 2;
}
