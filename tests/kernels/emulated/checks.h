// What is known of each byte of memory while a kernel is checked: who touched it last, and when. See checks.cpp.
#pragma once
#include <string>
#include <vector>

namespace emulated {

struct Thread;

// A thread between two barriers.
struct Moment {
  const Thread* thread;
  long long block_barriers, warp_barriers, arrivals, departures;
};

// Numbers of moments, 0 for none, and where in the program. `other`: of the last reader that was another thread.
struct Trace {
  unsigned write, write_at, read, read_at, other;
  unsigned cluster : 30, foreign : 1, flying : 1;  // whose moments these are; read by another cluster; being copied to
};

struct Region {
  const char *first, *end;
  std::string name;
  Trace* traces;
};

struct Access {
  const char* place;
  size_t bytes;
  bool write;
  const void* program;  // address of the instruction behind
};

extern bool checked;
void start_checks();                   // of a launch
void stop_checks();
void start_cluster();                  // a new one runs: what is known of shared memory is forgotten
void check(const Access& access);
void check_shared(const Access& access, unsigned rank);
void fly(const char* place, size_t bytes, bool flying);
std::string where(const void* program);

}  // namespace emulated
