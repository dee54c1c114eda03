// Calendar features of a moment, as mambats.data.calendar has them.
// Static: compiled for every instruction set, and a processor must not meet another's.
#pragma once
#include <cmath>
#include <cstdint>

namespace mambats {

constexpr int64_t DAY_NS = 86400LL * 1000000000LL;

static inline int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }
static inline int64_t modulo(int64_t a, int64_t b) { return a - floor_divide(a, b) * b; }

// Days since the first of the month and of the year. Years begin in March here: then the leap day is their last.
static inline void day_of(int64_t day, int64_t &of_month, int64_t &of_year) {
    const int64_t shifted = day + 719468, era = floor_divide(shifted, 146097), in_era = shifted - era * 146097;
    const int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    const int64_t in_year = in_era - (365 * year + year / 4 - year / 100), month = (5 * in_year + 2) / 153;
    of_month = in_year - (153 * month + 2) / 5;
    const int64_t own = year + (month >= 10);  // January and February belong to the next
    const bool leap = own % 4 == 0 && (own % 100 != 0 || own % 400 == 0);
    of_year = month >= 10 ? in_year - 306 : in_year + 59 + leap;
}

// Writes one number, or sine and cosine; returns how many.
static inline int calendar_feature(int64_t kind, int64_t stamp, float *to) {
    const int64_t day = floor_divide(stamp, DAY_NS);
    const int lengths[4] = {24, 7, 31, 366};
    int64_t of_month, of_year;
    day_of(day, of_month, of_year);
    const double positions[4] = {double(stamp - day * DAY_NS) / (double(DAY_NS) / 24), double(modulo(day + 3, 7)),
                                 double(of_month), double(of_year)};
    const double position = positions[kind / 2], length = lengths[kind / 2];
    if (kind % 2) {
        to[0] = float(position / (length - 1) - 0.5);
        return 1;
    }
    const double angle = 2 * 3.14159265358979323846 * position / length;
    to[0] = float(std::sin(angle)), to[1] = float(std::cos(angle));
    return 2;
}

}  // namespace mambats
