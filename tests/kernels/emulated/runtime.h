// What a kernel compiled for the emulator asks of it: barriers, exchanges inside a warp, copies, errors. See runtime.cpp.
#pragma once

struct uint3 { unsigned x, y, z; };

namespace emulated {

// Where in the kernel's source a word was called: by default arguments, so it names the .cu file and its line.
struct Site {
  const char* file;
  int line;
};

enum Kind { nothing, block_barrier, warp_barrier, exchange, broadcast, vote, multiply, cluster_barrier };

constexpr int lanes = 32, most_words = 6;

struct Identity {
  uint3 thread, block, threads, blocks;
  unsigned lane, rank;
  char* shared;
};

extern Identity* now;  // of the thread that runs

using Words = unsigned[most_words];

void wait_block(Site site);
// All lanes of the warp bring `count` words and read everybody's.
const Words* gather(Kind kind, Site site, const unsigned* words, int count);
void copy(void* to, const void* from, int bytes, bool there, Site site);
void commit();
void wait_groups(int open);
char* remote(void* place, unsigned rank, int bytes, Site site);
void store_far(void* place, unsigned rank, const void* bytes, int count, Site site);
void arrive_cluster(Site site);
void wait_cluster(Site site);
void fence();                               // the launch speaks between blocks through global memory
void touch(const void* place, int bytes);   // an atomic operation
[[noreturn]] void stop(const char* text, Site site);

// Defined by the generated end of each compiled kernel.
void enter(const void* arguments);
extern const int arguments_size;

}  // namespace emulated

#define EMULATED_HERE emulated::Site site = {__builtin_FILE(), __builtin_LINE()}
