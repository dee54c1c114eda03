// The emulated machine: blocks of threads, each a fiber with its own stack, all run by one thread of the host in turn.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <string>
#include <vector>

#include "checks.h"
#include "runtime.h"

namespace emulated {

enum class State { unborn, ready, waiting, finished };

struct Copy {
  char* to;
  const char* from;
  int bytes;
  bool there, landed;
  long long group;
};

struct Block;
struct Warp;

struct Thread : Identity {
  Block* home;
  Warp* warp;
  State state;
  Kind kind;  // of the word that it waits in
  Site site;  // of the last word that it called
  std::vector<Copy> copies;
  long long groups;                // committed so far
  long long block_barriers, warp_barriers, arrivals, departures;  // arrivals and departures at cluster barriers
  unsigned moment;                                                // of checks.cpp, 0 if none yet since the last barrier
  jmp_buf place;
  ucontext_t first;
  char* stack;
};

struct Warp {
  unsigned words[2][lanes][most_words];  // two: a lane may bring its next words before another has read the last ones
  int parity, arrived, present;
  bool left;  // a lane has returned
  Kind kind;
  Site site;
  std::vector<Thread*> members;
};

struct Block {
  char* shared;
  int live, waiting;
  bool started;
  Site site;
  std::vector<Thread*> members;
};

struct Far {  // a store into another block, on its way
  Block* to;
  char* place;
  std::vector<char> bytes;
  long long phase;
};

struct Cluster {
  std::vector<Block> blocks;
  std::vector<Warp> warps;
  std::vector<Thread> threads;
  std::vector<Far> stores;
  long long phase;  // cluster barriers completed
};

extern Cluster cluster;
extern Thread* running;
extern long long shared_bytes;
extern const void* arguments;
constexpr size_t stack_bytes = 256 << 10;

// In which order threads run, and when copies land: 0 forward and late, 1 backward and at once, else at random by seed.
extern int order;
unsigned dice(unsigned sides);
inline bool lands_at_once() { return order == 1 || (order > 1 && dice(2)); }

const char* name(Kind kind);
std::string told(Site site);
std::string told(const Thread& thread);
[[noreturn]] void fail(const std::string& where, const std::string& text);
bool same(Site a, Site b);
void rest(Kind kind, Site site);  // give the processor to others until somebody makes this thread ready
void check_block(Block& block);   // let its threads go if all that live have come to the barrier
void check_cluster();
void land_all_stores();

}  // namespace emulated
